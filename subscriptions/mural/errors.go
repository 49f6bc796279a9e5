package mural

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// APIError is a refusal by Mural. It unwraps to [subscriptions.ErrGone] or
// [subscriptions.ErrMisconfigured] where it is one of these. It repeats codes
// and never messages.
type APIError struct {
	// Operation is the name of the vendor's reference page.
	Operation string
	Status    int
	// Code is the vendor's, such as FORBIDDEN; of the token endpoint that of RFC
	// 6749, such as invalid_grant. Detail is the first one of a bad body.
	Code, Detail string
	// RequestID is the vendor's X-Request-Id, if there is one.
	RequestID string
}

// Error names the operation, the codes, the remedy if one is known, and the
// request id for the vendor's support.
func (e *APIError) Error() string {
	s := fmt.Sprintf("mural %s: status %d", e.Operation, e.Status)
	for _, part := range []struct{ before, text string }{
		{" ", e.Code}, {" ", e.Detail}, {": ", remedies[e.Code]}, {", request ", e.RequestID},
	} {
		if part.text != "" {
			s += part.before + part.text
		}
	}
	return s
}

// Unwrap is the family.
func (e *APIError) Unwrap() error {
	switch {
	case remedies[e.Code] != "":
		return subscriptions.ErrMisconfigured
	case e.Status == http.StatusNotFound:
		return subscriptions.ErrGone
	}
	return nil
}

// The codes that steer us (public/docs/error-codes of developers.mural.co; the
// last of RFC 6749, section 5.2).
const (
	codeExpired      = "TOKEN_EXPIRED"
	codeUnauthorized = "UNAUTHORIZED"
	codeNextExpired  = "NEXT_TOKEN_EXPIRED"
	codeNoClient     = "invalid_client"
	codeNoGrant      = "invalid_grant"
)

// remedies says what a person must do; a code that stands here is a fault of
// configuration. invalid_grant is none: it ends one user's grant.
var remedies = map[string]string{
	codeNoClient:             "check the client id and secret",
	"invalid_request":        "the token endpoint wants another request: try the other refresh_path",
	"invalid_scope":          "check the scopes of the app",
	"unauthorized_client":    "the app must be allowed to refresh tokens",
	"unsupported_grant_type": "the token endpoint does not know this grant: try the other refresh_path",
}

// refusal reads an error reply. A body of another form leaves the status.
func refusal(op client.Op, status int, h http.Header, body []byte) error {
	var b struct {
		Code    string `json:"code"`
		OAuth   string `json:"error"`
		Details []struct {
			Code string `json:"code"`
		} `json:"details"`
	}
	_ = json.Unmarshal(body, &b) // what could be read of it is enough
	e := &APIError{Operation: op.Name, Status: status, Code: client.Word(b.Code),
		RequestID: client.Word(h.Get(requestID))}
	if e.Code == "" {
		e.Code = client.Word(b.OAuth)
	}
	if len(b.Details) > 0 {
		e.Detail = client.Word(b.Details[0].Code)
	}
	return e
}

// hasCode says whether err is a refusal with one of the codes.
func hasCode(err error, codes ...string) bool {
	e, ok := errors.AsType[*APIError](err)
	return ok && slices.Contains(codes, e.Code)
}

// tokenDead says whether a new token may help. The code counts before the
// status, since TOKEN_EXPIRED has been seen with 403 too.
func tokenDead(err error) bool {
	e, ok := errors.AsType[*APIError](err)
	return ok && (e.Code == codeExpired || e.Status == http.StatusUnauthorized && remedies[e.Code] == "")
}

// notAllowed says whether a refusal is the vendor's answer that the owner of
// the token has no access: it is forbidden, or does not exist for it. Without a
// code of the vendor's it may be anybody's, such as a proxy's.
func notAllowed(err error) bool {
	e, ok := errors.AsType[*APIError](err)
	return ok && e.Code != "" && e.Code != codeExpired && (e.Status == http.StatusForbidden || e.Status == http.StatusNotFound)
}
