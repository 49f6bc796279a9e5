package lookup

import (
	"time"

	"github.com/rescindhq/rescind/cache"
)

// Source says who decided.
type Source string

// The two that may decide.
const (
	FromCache  Source = "cache"
	FromWorker Source = "worker"
)

// Decision is the answer to a check. Its zero value is unknown.
type Decision struct {
	// State is the answer; use [Decision.Allowed] to act on it.
	State cache.State
	// AsOf is when the fetch behind the answer began, by Redis's clock; the
	// answer is at least this fresh. Zero if nothing usable was found.
	AsOf time.Time
	// Until is when the answer must not be used any more; zero if it may be
	// used this once only.
	Until time.Time
	// Version is the fence's number; of two answers the higher is the later.
	Version cache.Version
	// Basis is how the provider was asked, such as "authz-profile".
	Basis string
	// Covers lists the kinds that were read; of others nothing is known.
	Covers []cache.Kind
	// Confirmed says that the fetch began long enough after the last change for
	// the provider to have caught up with itself.
	Confirmed bool
	// Widths maps each needed grant that is there to how widely it is meant, in
	// the provider's words; [cache.Unlimited] where there is no width. Whoever
	// acts on others than the subject must look here.
	Widths map[cache.Grant]string
	// Missing lists the needed grants that are denied.
	Missing []cache.Grant
	// Reasons maps what is missing or unknown to the reason, where there is one.
	Reasons map[cache.Grant]string
	// Message says for people why the answer is what it is; may be empty.
	Message string
	// Source says who decided.
	Source Source
	// Fault is what went wrong at Redis when the asker answered instead.
	Fault error
}

// Allowed says whether all that was needed is granted. Unknown is not allowed.
func (d Decision) Allowed() bool { return d.State == cache.Granted }

// Age is how old the answer is at most, never negative. An answer without an
// [Decision.AsOf] is older than any limit.
func (d Decision) Age(now time.Time) time.Duration { return max(0, now.Sub(d.AsOf)) }
