package cache

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/rescindhq/rescind/events"
)

// DefaultPrefix begins every key unless configured otherwise.
const DefaultPrefix = "perm"

var prefixShape = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// Keys makes the names of Redis keys. Its zero value uses [DefaultPrefix].
// All keys of a [events.Home] carry the same hash tag, hence live in one slot
// of a cluster; each kind has a letter of its own, so that no id collides.
type Keys struct{ prefix string }

// NewKeys checks a configured prefix: 1 to 32 of A-Z a-z 0-9 _ -.
// Empty means [DefaultPrefix].
func NewKeys(prefix string) (Keys, error) {
	if prefix != "" && !prefixShape.MatchString(prefix) {
		return Keys{}, fmt.Errorf("key prefix %q: 1 to 32 of A-Z a-z 0-9 _ - are allowed", prefix)
	}
	return Keys{prefix}, nil
}

// Name is what stands behind a home's base key: a letter and escaped ids.
// "e:42" is an entry, "p:role%3A7" a part.
type Name string

// EntryName is the name of an entry.
func EntryName(r events.Ref) Name {
	n := "e:" + Escape(string(r.Subject))
	if r.Resource != "" {
		n += ":" + Escape(string(r.Resource))
	}
	return Name(n)
}

// PartName is the name of a part: something fetched on the way that several
// entries share.
func PartName(part string) Name { return Name("p:" + Escape(part)) }

// IsEntry tells an entry's name from a part's.
func (n Name) IsEntry() bool { return strings.HasPrefix(string(n), "e:") }

// Ref is the inverse of [EntryName].
func (n Name) Ref(h events.Home) (events.Ref, error) {
	rest, ok := strings.CutPrefix(string(n), "e:")
	if !ok {
		return events.Ref{}, fmt.Errorf("name %.80q is not an entry's", n)
	}
	subject, resource, _ := strings.Cut(rest, ":")
	s, err := events.Unescape(subject)
	if err != nil {
		return events.Ref{}, fmt.Errorf("name %.80q: %w", n, err)
	}
	res, err := events.Unescape(resource)
	if err != nil {
		return events.Ref{}, fmt.Errorf("name %.80q: %w", n, err)
	}
	r := events.Ref{Home: h, Subject: events.Subject(s), Resource: events.Resource(res)}
	return r, r.Validate()
}

// TagName is a tag's text with its id escaped, as the bookkeeping spells it.
func TagName(t events.Tag) string {
	t.ID = Escape(t.ID)
	return t.String()
}

// ParseTagName is the inverse of [TagName].
func ParseTagName(s string) (events.Tag, error) {
	kind, escaped, hasID := strings.Cut(s, ":")
	if !hasID {
		return events.ParseTag(kind)
	}
	id, err := events.Unescape(escaped)
	if err != nil {
		return events.Tag{}, fmt.Errorf("tag %.40q: %w", s, err)
	}
	return events.ParseTag(kind + ":" + id) // the limits are the id's, not its escaped form's
}

// Base is what all keys of a home begin with: perm:v1:{<provider>:<tenant>}:
func (k Keys) Base(h events.Home) string {
	return k.start() + Escape(string(h.Provider)) + ":" + Escape(string(h.Tenant)) + "}:"
}

// start is what all keys begin with.
func (k Keys) start() string { return cmp.Or(k.prefix, DefaultPrefix) + ":v1:{" }

// Entry is the key of an entry. Type: hash.
func (k Keys) Entry(r events.Ref) string { return k.Base(r.Home) + string(EntryName(r)) }

// Named is the key of an entry or part. Type: hash.
func (k Keys) Named(h events.Home, n Name) string { return k.Base(h) + string(n) }

// Changed is the channel on which changed keys are published.
func (k Keys) Changed(h events.Home) string { return k.Base(h) + "changed" }

// Fence is the key of a tenant's numbers. Type: sorted set.
func (k Keys) Fence(h events.Home) string { return k.Base(h) + "f" }

// AnyFence is a pattern for SCAN that finds every tenant's fence.
func (k Keys) AnyFence() string { return k.start() + "*}:f" }

// HomeOf says whose fence a key is: the inverse of [Keys.Fence].
func (k Keys) HomeOf(fence string) (events.Home, error) {
	rest, ok := strings.CutPrefix(fence, k.start())
	ids, whole := strings.CutSuffix(rest, "}:f")
	provider, tenant, two := strings.Cut(ids, ":")
	if !ok || !whole || !two {
		return events.Home{}, fmt.Errorf("key %.80q is not a fence's", fence)
	}
	p, perr := events.Unescape(provider)
	t, terr := events.Unescape(tenant)
	if err := errors.Join(perr, terr); err != nil {
		return events.Home{}, fmt.Errorf("key %.80q: %w", fence, err)
	}
	h := events.Home{Provider: events.Provider(p), Tenant: events.Tenant(t)}
	return h, h.Validate()
}

// Index is the key that lists what was computed from a tag. Type: sorted set.
func (k Keys) Index(h events.Home, t events.Tag) string { return k.Base(h) + "t:" + TagName(t) }

// Lease is the key that says who is fetching. Type: hash.
func (k Keys) Lease(h events.Home, n Name) string { return k.Base(h) + "l:" + string(n) }

// Escape percent-encodes ":", "{", "}", "%" and control characters, as two
// upper-case hexadecimal digits a byte. [events.Unescape] is its inverse.
func Escape(id string) string {
	return events.EscapeFunc(id, func(c byte) bool {
		return c < 0x20 || c == 0x7f || c == ':' || c == '{' || c == '}' || c == '%'
	})
}
