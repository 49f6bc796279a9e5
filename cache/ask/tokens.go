package ask

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/rescindhq/rescind/events"
)

// TokensPath is where an application tells of tokens that it has narrowed.
const TokensPath = "/v1/tokens"

const outcomeTold = "told"

// TokenTaker takes down what the reply of a token exchange says of a token: under
// what resource of the subject it is asked for, and until when. It must not keep,
// log or repeat the token. An error that wraps a [*Refusal] is the teller's fault.
type TokenTaker func(ctx context.Context, h events.Home, s events.Subject, reply []byte) (
	r events.Resource, until time.Time, err error)

// Refusal is why something that was told is not taken. The teller reads it.
type Refusal struct{ Err error }

// Error is the reason.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap is the reason.
func (r *Refusal) Unwrap() error { return r.Err }

// telling is what is told of a token.
type telling struct {
	Provider string          `json:"provider"`
	Tenant   events.Tenant   `json:"tenant"`
	Subject  events.Subject  `json:"subject"`
	Reply    json.RawMessage `json:"reply"`
}

// token is where the scopes of a token stand.
type token struct {
	Resource events.Resource `json:"resource"`
	Until    string          `json:"until"`
}

// tell hands over what is told of a token. What cannot be read is not repeated,
// since it holds one.
func (h *Handler) tell(ctx context.Context, body []byte) (token, error) {
	var t telling
	switch err := json.Unmarshal(body, &t); {
	case h.Tokens == nil:
		return token{}, problem{http.StatusNotFound, "no provider here takes tokens"}
	case err != nil:
		return token{}, bad("the body must be an object with provider, tenant, subject and reply")
	case len(t.Reply) == 0:
		return token{}, bad("reply is missing: that of the token exchange, as it came")
	}
	if h.provider(t.Provider) == "" {
		return token{}, bad("provider is missing: there are %v", h.Providers)
	}
	ref := events.Ref{Home: events.Home{Provider: h.provider(t.Provider), Tenant: t.Tenant}, Subject: t.Subject}
	if err := ref.Validate(); err != nil {
		return token{}, bad("%s", err)
	}
	ctx, cancel := context.WithTimeout(ctx, Wait)
	defer cancel()
	r, until, err := h.Tokens(ctx, ref.Home, ref.Subject, t.Reply)
	var refused *Refusal
	if errors.As(err, &refused) {
		return token{}, bad("%s", refused)
	}
	if err != nil {
		return token{}, err
	}
	return token{r, stamp(until)}, nil
}
