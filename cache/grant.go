package cache

import (
	"fmt"
	"strings"

	"github.com/rescindhq/rescind/events"
)

// Kind is the name space of a grant: what was asked of the provider.
type Kind string

// The kinds in use.
const (
	Permission Kind = "permission"
	Feature    Kind = "feature"
	Scope      Kind = "scope"
	Role       Kind = "role"
)

// Unlimited is the width of a grant that knows no width.
const Unlimited = "*"

// whyPrefix begins the field that says why a grant is not given. No kind may
// be called so.
const whyPrefix = "why/"

// Grant is one thing the subject may do: "permission/ReadMessages".
type Grant string

// NewGrant joins a kind and a vendor's own name.
func NewGrant(k Kind, name string) Grant { return Grant(string(k) + "/" + name) }

// Kind is what stands before the first slash.
func (g Grant) Kind() Kind {
	k, _, _ := strings.Cut(string(g), "/")
	return Kind(k)
}

// Name is what stands behind the first slash.
func (g Grant) Name() string {
	_, n, _ := strings.Cut(string(g), "/")
	return n
}

// ParseGrant reads "kind/name". The kind is 1 to 32 of a-z and "-", but not
// "why"; the name is 1 to 256 bytes of UTF-8 without control characters.
func ParseGrant(text string) (Grant, error) {
	kind, name, ok := strings.Cut(text, "/")
	if !ok {
		return "", fmt.Errorf("grant %.80q: want kind/name, such as permission/ReadMessages", text)
	}
	if kind == "" || len(kind) > 32 || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz-") != "" || kind == "why" {
		return "", fmt.Errorf("grant %.80q: the kind must be 1 to 32 of a-z and -, and not why", text)
	}
	if err := events.CheckID(name); err != nil {
		return "", fmt.Errorf("grant %.80q: name: %w", text, err)
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return "", fmt.Errorf("grant %.80q: the name has a control character", text)
	}
	return Grant(text), nil
}
