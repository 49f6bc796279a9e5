package subscriptions

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
)

// KindToken is the kind of tag, and of resource, of an access token that an
// application has narrowed for itself.
const KindToken = "token"

// TokenName stands for an access token where it must not be known itself: the
// first 32 hex digits, in lower case, of the SHA-256 of its text. So a program in
// any language finds the entry of a token that it holds.
func TokenName(access Secret) string {
	sum := sha256.Sum256([]byte(access.text))
	return hex.EncodeToString(sum[:16])
}

// TokenTag is the tag of what is computed from one narrowed token, by its name.
func TokenTag(name string) events.Tag { return events.Tag{Kind: KindToken, ID: name} }

// TokenResource is under what the scopes of a narrowed token are kept: token:<name>.
func TokenResource(name string) events.Resource { return events.Resource(KindToken + ":" + name) }

// ParseToken is the name in a resource. ok is false if the resource is of another
// kind; the error says that the name is none of [TokenName].
func ParseToken(r events.Resource) (name string, ok bool, err error) {
	name, ok = strings.CutPrefix(string(r), KindToken+":")
	if ok && (len(name) != 32 || strings.Trim(name, "0123456789abcdef") != "") {
		return "", true, fmt.Errorf("must be %s: and 32 hex digits in lower case; got %.40q", KindToken, r)
	}
	return name, ok, nil
}

// ErrNotNarrowed says that what was told of a token cannot be taken. Its text is
// for who told it, and repeats nothing of the token.
var ErrNotNarrowed = errors.New("token not taken")

// UntoldError says that the scopes of a token are not known: nobody has told them,
// or told them of another subject's token, or the token is over. It is no denial.
type UntoldError struct{ Resource events.Resource }

// Error names the token's resource.
func (e *UntoldError) Error() string { return string(e.Resource) + ": " + e.Explain() }

// Explain is for who asked, and tells no subject of another's tokens.
func (*UntoldError) Explain() string {
	return "no such token of this subject's has been told, or it is over: tell it when it is made"
}

// Narrower is a provider whose applications narrow tokens for themselves. Only the
// reply that made such a token says what it carries: whoever has it tells it, and
// the scopes are then read as the entry of (subject, resource).
type Narrower interface {
	// PutToken takes down what the reply of a token exchange, as it came, says of
	// the token's scopes; the token itself is kept nowhere. That it is the
	// subject's is the teller's word. What is told of a token stands: the same
	// told again changes nothing, its end included. Errors: [ErrNotNarrowed]; any
	// other may pass.
	PutToken(ctx context.Context, subject events.Subject, reply []byte) (
		r events.Resource, until time.Time, err error)
}

// Forgetter is a vault of which values can end by themselves.
type Forgetter interface {
	// Keep stores a value that ends after life, in whole seconds rounded up, if the
	// revision is still the one given (0: not there), else returns [ErrConflict].
	Keep(ctx context.Context, key string, value []byte, revision uint64, life time.Duration) error
}
