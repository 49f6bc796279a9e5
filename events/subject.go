package events

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNobody says that nobody takes orders for a home now.
var ErrNobody = errors.New("nobody keeps it now")

// The first tokens of the subjects.
const (
	changePrefix  = "perm.change."
	refreshPrefix = "perm.refresh."
	delayPrefix   = "perm.schedule."
	deadPrefix    = "perm.dead."
	keeperPrefix  = "perm.keeper."
	journalPrefix = "perm.journal."
)

// Subject patterns that streams and consumers bind to; no stream holds what is
// said to keepers.
const (
	AllChanges   = changePrefix + ">"
	AllRefreshes = refreshPrefix + ">"
	AllDelayed   = delayPrefix + ">"
	AllDead      = deadPrefix + ">"
	AllKeepers   = keeperPrefix + ">"
	AllOutcomes  = journalPrefix + ">"
)

// ChangeSubject is where the changes of one tenant are published.
func ChangeSubject(h Home) string { return changePrefix + homeTokens(h) }

// RefreshSubject is where a due refresh of one entry stands.
func RefreshSubject(r Ref) string { return refreshPrefix + refTokens(r) }

// DelaySubject is where a refresh waits for its time.
func DelaySubject(r Ref) string { return delayPrefix + refTokens(r) }

// DeadSubject is where messages of one tenant go that could not be handled.
func DeadSubject(h Home) string { return deadPrefix + homeTokens(h) }

// JournalSubject is where outcomes of one kind stand, of one tenant.
func JournalSubject(h Home, k Kind) string {
	return journalPrefix + homeTokens(h) + "." + Escape(string(k))
}

// ChangesOf is the pattern of the changes of a provider, a tenant, or both; what is
// empty stands for all.
func ChangesOf(h Home) string {
	if h == (Home{}) {
		return AllChanges
	}
	return changePrefix + wild(string(h.Provider)) + "." + wild(string(h.Tenant))
}

// OutcomesOf is likewise that of outcomes, of one kind or all.
func OutcomesOf(h Home, k Kind) string {
	if h == (Home{}) && k == "" {
		return AllOutcomes
	}
	return journalPrefix + wild(string(h.Provider)) + "." + wild(string(h.Tenant)) + "." + wild(string(k))
}

// wild is the token of an id, or that of all.
func wild(id string) string {
	if id == "" {
		return "*"
	}
	return Escape(id)
}

// KeeperSubject is where whoever keeps a tenant's subscriptions takes orders.
func KeeperSubject(h Home) string { return keeperPrefix + homeTokens(h) }

// ParseKeeperSubject is the inverse of [KeeperSubject].
func ParseKeeperSubject(s string) (Home, error) { return parseHome(s, keeperPrefix) }

// ParseDeadSubject is the inverse of [DeadSubject].
func ParseDeadSubject(s string) (Home, error) { return parseHome(s, deadPrefix) }

// DeadOf is the pattern of what could not be handled of a provider, a tenant, or
// both; what is empty stands for all.
func DeadOf(h Home) string {
	if h == (Home{}) {
		return AllDead
	}
	return deadPrefix + wild(string(h.Provider)) + "." + wild(string(h.Tenant))
}

// ParseChangeSubject is the inverse of [ChangeSubject].
func ParseChangeSubject(s string) (Home, error) { return parseHome(s, changePrefix) }

func parseHome(s, prefix string) (Home, error) {
	ids, err := tokens(s, prefix, 2, 2)
	if err != nil {
		return Home{}, err
	}
	h := Home{Provider(ids[0]), Tenant(ids[1])}
	return h, h.Validate()
}

// ParseRefreshSubject is the inverse of [RefreshSubject].
func ParseRefreshSubject(s string) (Ref, error) {
	ids, err := tokens(s, refreshPrefix, 3, 4)
	if err != nil {
		return Ref{}, err
	}
	r := Ref{Home: Home{Provider(ids[0]), Tenant(ids[1])}, Subject: Subject(ids[2])}
	if len(ids) == 4 {
		r.Resource = Resource(ids[3])
	}
	return r, r.Validate()
}

func homeTokens(h Home) string { return Escape(string(h.Provider)) + "." + Escape(string(h.Tenant)) }

func refTokens(r Ref) string {
	s := homeTokens(r.Home) + "." + Escape(string(r.Subject))
	if r.Resource != "" {
		s += "." + Escape(string(r.Resource))
	}
	return s
}

func tokens(s, prefix string, least, most int) ([]string, error) {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return nil, fmt.Errorf("subject %.80q does not begin with %s", s, prefix)
	}
	parts := strings.Split(rest, ".")
	if len(parts) < least || len(parts) > most {
		return nil, fmt.Errorf("subject %.80q has %d ids, not %d to %d", s, len(parts), least, most)
	}
	for i, p := range parts {
		if p == "" {
			return nil, fmt.Errorf("subject %.80q has an empty id", s)
		}
		id, err := Unescape(p)
		if err != nil {
			return nil, fmt.Errorf("subject %.80q: %w", s, err)
		}
		parts[i] = id
	}
	return parts, nil
}

const hex = "0123456789ABCDEF"

// Escape percent-encodes every byte of an id but A-Z, a-z, 0-9, "-" and "_",
// so that it can be one token of a subject or one segment of a path.
func Escape(id string) string {
	return EscapeFunc(id, func(c byte) bool {
		plain := c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		return !plain
	})
}

// EscapeFunc percent-encodes the bytes of an id that unsafe names; it must
// name "%". [Unescape] is its inverse whatever unsafe names.
func EscapeFunc(id string, unsafe func(byte) bool) string {
	n := 0
	for i := range len(id) {
		if unsafe(id[i]) {
			n++
		}
	}
	if n == 0 {
		return id
	}
	b := make([]byte, 0, len(id)+2*n)
	for i := range len(id) {
		if c := id[i]; unsafe(c) {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

// Unescape is the inverse of [Escape]. It refuses a broken escape, and lower
// case digits in one, so that an id has a single escaped form.
func Unescape(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("escape at the end of %.80q is cut short", s)
		}
		hi, lo := strings.IndexByte(hex, s[i+1]), strings.IndexByte(hex, s[i+2])
		if hi < 0 || lo < 0 {
			return "", fmt.Errorf("escape %q in %.80q is not two of 0-9A-F", s[i:i+3], s)
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	return string(b), nil
}
