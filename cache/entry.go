package cache

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// How long things live.
const (
	// Ceiling is the longest life of an entry or part, counted from the start
	// of its fetch. It is a constant: no configuration exceeds it.
	Ceiling = 5 * time.Minute
	// DefaultLife is the life of an entry unless configured otherwise.
	DefaultLife = 60 * time.Second
	// MinLife is the shortest life that may be configured.
	MinLife = 10 * time.Second
	// ClockSlack is how far a reader's clock may be behind Redis's.
	ClockSlack = 5 * time.Second
	// Soon is how long after a change an answer is fetched once more before it
	// has settled.
	Soon = 3 * time.Second
	// Settled is how long after a change the source may still give the old
	// answer; a fetch begun later than this confirms.
	Settled = 30 * time.Second
)

// MaxFields bounds the grants and reasons of one entry.
const MaxFields = 5000

// The fields that are not grants.
const (
	FieldAsOf      = "_asof"
	FieldUntil     = "_until"
	FieldVersion   = "_version"
	FieldCovers    = "_covers"
	FieldConfirmed = "_confirmed"
	FieldBasis     = "_basis"
)

// ErrUnreadable says that what stands under an entry's key breaks the
// contract. A reader treats it as unknown.
var ErrUnreadable = errors.New("unreadable entry")

// Version is the fence's number: of two versions of one tenant the higher is
// the later. It fits a float64 exactly.
type Version uint64

// String is the number in decimal.
func (v Version) String() string { return strconv.FormatUint(uint64(v), 10) }

// CheckLife refuses a life that is out of bounds.
func CheckLife(d time.Duration) error {
	if d < MinLife || d > Ceiling {
		return fmt.Errorf("life %s: must be between %s and the ceiling of %s", d, MinLife, Ceiling)
	}
	return nil
}

// Facts are what a provider said of one subject: the part of an entry that
// comes from outside.
type Facts struct {
	// Basis is how it was learnt, such as "authz-profile".
	Basis string
	// Covers lists the kinds that were read whole; for these, absent is denied.
	Covers []Kind
	// Grants maps what is granted to its width; never empty.
	Grants map[Grant]string
	// Why maps what is not granted to the provider's reason, where it gave one.
	Why map[Grant]string
}

// Entry is everything known of one subject and resource.
type Entry struct {
	Facts
	AsOf      time.Time
	Until     time.Time
	Version   Version
	Confirmed bool
}

// Fields writes the facts as field and value in turn, in a stable order.
// It refuses what a reader could misread.
func (f Facts) Fields() ([]string, error) {
	if len(f.Grants)+len(f.Why) > MaxFields {
		return nil, fmt.Errorf("%d grants and reasons, the limit is %d", len(f.Grants)+len(f.Why), MaxFields)
	}
	covers := make([]string, len(f.Covers))
	for i, k := range f.Covers {
		if g, err := ParseGrant(string(k) + "/x"); err != nil || g.Kind() != k {
			return nil, fmt.Errorf("covers: %.40q is no kind", k)
		}
		covers[i] = string(k)
	}
	out := []string{FieldCovers, strings.Join(covers, ","), FieldBasis, f.Basis}
	for _, g := range sortedKeys(f.Grants) {
		if _, err := ParseGrant(string(g)); err != nil {
			return nil, err
		}
		if f.Grants[g] == "" {
			return nil, fmt.Errorf("grant %q has an empty width", g)
		}
		out = append(out, string(g), f.Grants[g])
	}
	for _, g := range sortedKeys(f.Why) {
		if _, err := ParseGrant(string(g)); err != nil {
			return nil, fmt.Errorf("reason: %w", err)
		}
		out = append(out, whyPrefix+string(g), f.Why[g])
	}
	return out, nil
}

func sortedKeys(m map[Grant]string) []Grant {
	keys := make([]Grant, 0, len(m))
	for g := range m {
		keys = append(keys, g)
	}
	slices.Sort(keys)
	return keys
}

// Decode reads a whole entry. An error wraps [ErrUnreadable].
func Decode(fields map[string]string) (Entry, error) {
	var e Entry
	var err error
	if e.AsOf, err = parseMillis(fields[FieldAsOf]); err != nil {
		return Entry{}, fmt.Errorf("%w: %s: %w", ErrUnreadable, FieldAsOf, err)
	}
	if e.Until, err = parseMillis(fields[FieldUntil]); err != nil {
		return Entry{}, fmt.Errorf("%w: %s: %w", ErrUnreadable, FieldUntil, err)
	}
	if e.Version, err = ParseVersion(fields[FieldVersion]); err != nil {
		return Entry{}, fmt.Errorf("%w: %s: %w", ErrUnreadable, FieldVersion, err)
	}
	e.Confirmed = fields[FieldConfirmed] == "1"
	e.Basis = fields[FieldBasis]
	e.Covers = splitCovers(fields[FieldCovers])
	e.Grants, e.Why = map[Grant]string{}, map[Grant]string{}
	for field, value := range fields {
		if strings.HasPrefix(field, "_") {
			continue
		}
		into, name := e.Grants, field
		if rest, ok := strings.CutPrefix(field, whyPrefix); ok {
			into, name = e.Why, rest
		}
		g, err := ParseGrant(name)
		if err != nil {
			return Entry{}, fmt.Errorf("%w: %w", ErrUnreadable, err)
		}
		into[g] = value
	}
	return e, nil
}

// ParseVersion reads a version: decimal digits, at most 2^53.
func ParseVersion(s string) (Version, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > 1<<53 {
		return 0, fmt.Errorf("version %.40q is not a number up to 2^53", s)
	}
	return Version(n), nil
}

func parseMillis(s string) (time.Time, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 1<<48 {
		return time.Time{}, fmt.Errorf("%.40q is not a time in unix ms", s)
	}
	return time.UnixMilli(n), nil
}

func splitCovers(s string) []Kind {
	if s == "" {
		return nil
	}
	parts := strings.Split(s, ",")
	kinds := make([]Kind, len(parts))
	for i, p := range parts {
		kinds[i] = Kind(p)
	}
	return kinds
}
