package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/subscriptions"
)

// Severity says how bad a finding is.
type Severity string

// The severities. A Warning is a risk that an operator may choose to take, or what
// may pass; Unknown is what cannot be told.
const (
	Fine    Severity = "ok"
	Warning Severity = "warn"
	Failure Severity = "fail"
	Unknown Severity = "unknown"
)

// Finding is one thing that an examination has found.
type Finding struct {
	About    string   `json:"about"`
	Severity Severity `json:"severity"`
	Text     string   `json:"text"`
	// Remedy says what to do; empty if it is fine.
	Remedy string `json:"remedy,omitempty"`
}

// Examination says what is to be looked at besides what the configuration names.
type Examination struct {
	// Monitors are the HTTP addresses at which NATS servers tell of themselves, such
	// as http://nats:8222: there it can be seen whether every write is synced.
	Monitors []string
	// Reader is the address of Redis as an application reads it, with its user;
	// empty: nothing is tried as an application. Its password is apart.
	Reader         string
	ReaderPassword subscriptions.Secret
	// Providers: ask each of them the time, by one request without a token.
	Providers bool
}

// The bounds of an examination. They are each for one server.
const (
	examLimit = 5 * time.Second
	// skewFine is what clocks may differ by without a word.
	skewFine = time.Second
)

// exam is an examination under way.
type exam struct {
	Examination
	cfg      *config.Config
	findings []Finding
	tenants  []tenant

	// What was seen on the way.
	js       jetstream.JetStream
	now      func() time.Time        // of NATS's clock
	changes  *jetstream.StreamConfig // nil if there is none, or nobody knows
	synced   *bool                   // whether every write is; nil if nobody knows
	rdb      redis.UniversalClient   // nil if Redis does not answer
	sentinel bool
}

// Examine connects to everything that the configuration names, and says what it
// found, in the order of the data's way. It changes nothing anywhere, and calls no
// provider unless told to. The configuration is a worker's, and valid.
func Examine(ctx context.Context, cfg *config.Config, x Examination) []Finding {
	e := &exam{Examination: x, cfg: cfg, now: time.Now}
	defer e.nats(ctx)()
	e.monitors(ctx)
	defer e.redis(ctx)()
	e.reader(ctx)
	e.durability()
	if err := e.openTenants(); err != nil {
		e.note(Failure, "providers", err.Error(), "mend the configuration")
	}
	if e.changes != nil {
		e.sealed(ctx)
		e.subscriptions(ctx)
		e.feeds(ctx)
		e.leases(ctx)
	}
	e.kept(ctx)
	if e.Providers {
		e.providerClocks(ctx)
	}
	return e.findings
}

func (e *exam) note(s Severity, about, text, remedy string) {
	e.findings = append(e.findings, Finding{about, s, text, remedy})
}

// fine notes what is well.
func (e *exam) fine(about, format string, args ...any) {
	e.note(Fine, about, fmt.Sprintf(format, args...), "")
}

// judged notes what a check has found: "what is wrong; what to do".
func (e *exam) judged(s Severity, about string, texts []string) {
	for _, text := range texts {
		what, remedy := text, ""
		if at := strings.LastIndex(text, "; "); at >= 0 {
			what, remedy = text[:at], text[at+2:]
		}
		e.note(s, about, what, remedy)
	}
}

// unreached notes why something does not answer: what only a person can mend is
// sure, all else may be on the way.
func (e *exam) unreached(about string, err error, remedy string) {
	s := Unknown
	if hopeless(err) {
		s = Failure
	}
	e.note(s, about, strings.TrimSpace(err.Error()), remedy)
}

// skew notes how far another clock is from ours: said is its time, which was asked
// for between two moments of ours. What is not known for sure counts for us.
func (e *exam) skew(about string, said, before, after time.Time, most time.Duration) {
	doubt := after.Sub(before)/2 + time.Millisecond
	by := said.Sub(before.Add(after.Sub(before) / 2))
	sure := max(0, by.Abs()-doubt)
	text := fmt.Sprintf("its clock is %s ours, within %s", distanceOf(by), doubt.Round(time.Millisecond))
	switch {
	case sure > most:
		e.note(Failure, about, text, fmt.Sprintf("keep NTP running on both machines: %s are allowed for", most))
	case sure > skewFine:
		e.note(Warning, about, text, "keep NTP running on both machines")
	default:
		e.note(Fine, about, text, "")
	}
}

func distanceOf(by time.Duration) string {
	if by.Abs() < time.Millisecond {
		return "level with"
	}
	if by < 0 {
		return by.Abs().Round(time.Millisecond).String() + " behind"
	}
	return by.Round(time.Millisecond).String() + " ahead of"
}

// durability says in one line what is lost when what dies.
func (e *exam) durability() {
	if e.changes == nil {
		return
	}
	server := "what its disk loses, for there is 1 replica"
	if n := e.changes.Replicas; n > 1 {
		server = fmt.Sprintf("nothing, for there are %d replicas", n)
	}
	if e.changes.Storage != jetstream.FileStorage {
		server = "every change, for they are in memory"
	}
	power := "nothing if sync_interval is always (--nats-monitoring tells), else up to 2m of changes"
	switch {
	case e.synced != nil && *e.synced:
		power = "nothing, for every write is synced"
	case e.synced != nil:
		power = "changes that were acknowledged and not synced yet"
	}
	e.fine("durability", "what is lost with a listener, a worker or Redis: nothing that is not fetched again; "+
		"with a NATS server: %s; with its power: %s", server, power)
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// few names at most five of many.
func few[T fmt.Stringer](all []T) string {
	var words []string
	for _, one := range all[:min(len(all), 5)] {
		words = append(words, one.String())
	}
	if more := len(all) - len(words); more > 0 {
		words = append(words, fmt.Sprintf("%d more", more))
	}
	return strings.Join(words, ", ")
}

// limited bounds what is asked of one server.
func limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, examLimit)
}

// Worst is the worst of all: Failure, then Unknown, then Warning, then Fine.
func Worst(all []Finding) Severity {
	for _, s := range []Severity{Failure, Unknown, Warning} {
		if slices.ContainsFunc(all, func(f Finding) bool { return f.Severity == s }) {
			return s
		}
	}
	return Fine
}

// absent says whether something is not there, as opposed to not known.
func absent(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) ||
		errors.Is(err, jetstream.ErrBucketNotFound)
}
