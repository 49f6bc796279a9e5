package box

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// APIError is a refusal by Box. It unwraps to [subscriptions.ErrGone] or
// [subscriptions.ErrMisconfigured] where it is one of these. It repeats codes and
// never messages.
type APIError struct {
	// Operation is the vendor's operationId.
	Operation string
	Status    int
	// Code is that of the body, or of WWW-Authenticate, which alone tells of a
	// missing scope or a dead token.
	Code string
	// Bearer says that the code is of WWW-Authenticate.
	Bearer bool
	// RequestID is the vendor's box-request-id.
	RequestID string

	faults []fault
}

// fault is a parameter that a refusal names, and its reason.
type fault struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// names says whether the refusal is for want of a right parameter of that name.
func (e *APIError) names(parameter string) bool {
	return slices.ContainsFunc(e.faults, func(f fault) bool { return f.Name == parameter })
}

// limits says whether the refusal speaks of a limit. How Box spells that is not
// documented.
func (e *APIError) limits() bool {
	return strings.Contains(e.Code, "limit") ||
		slices.ContainsFunc(e.faults, func(f fault) bool { return strings.Contains(f.Reason, "limit") })
}

// Error names the operation, the code, the remedy if one is known, and the
// request id for the vendor's support.
func (e *APIError) Error() string {
	s := fmt.Sprintf("box %s: status %d", e.Operation, e.Status)
	for _, part := range []struct{ before, text string }{
		{" ", e.Code}, {": ", remedies[e.Code]}, {", request ", e.RequestID},
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
	case e.Status == http.StatusNotFound && (e.Code == codeNotFound || e.Code == codeTrashed):
		return subscriptions.ErrGone
	}
	return nil
}

// The codes that steer us.
const (
	codeNotFound  = "not_found"
	codeTrashed   = "trashed"
	codeDenied    = "access_denied_insufficient_permissions"
	codeLocked    = "access_denied_item_locked"
	codePolicy    = "forbidden_by_policy"
	codeTerms     = "terms_of_service_required"
	codeNoScope   = "insufficient_scope"
	codeDeadToken = "invalid_token"
)

// remedies says what a person must do; a code that stands here is a fault of
// configuration.
var remedies = map[string]string{
	codeNoScope: "give the app the scope, or app and enterprise access, in the developer console, and have " +
		"the enterprise's admin authorise it again",
	"access_from_location_blocked": "allow the address that we call from in the enterprise's settings",
	// Of the token endpoint (RFC 6749, section 5.2).
	"invalid_client": "check the client id and secret",
	"invalid_grant": "check client id, secret and enterprise id; the enterprise's admin must have authorised " +
		"the app; a user's token also needs app and enterprise access and 'Generate user access tokens'",
	"unauthorized_client":    "the enterprise's admin must authorise the app",
	"invalid_request":        "the token endpoint wants another request",
	"invalid_scope":          "check the scopes of the app",
	"unsupported_grant_type": "the app must use server authentication with client credentials",
}

// denied is a refusal by the vendor of something that is ours to ask for, which
// only a person mends; another error stays as it is.
func denied(err error, remedy string) error {
	if hasCode(err, codeDenied) {
		return fmt.Errorf("%w: %s: %w", subscriptions.ErrMisconfigured, remedy, err)
	}
	return err
}

var bearerShape = regexp.MustCompile(`(?i)^\s*Bearer\b.*\berror="([A-Za-z_]{1,64})"`)

// refusal reads an error reply. A body of another form leaves the status.
func refusal(op client.Op, status int, h http.Header, body []byte) error {
	e := &APIError{Operation: op.Name, Status: status, RequestID: client.Word(h.Get(requestID))}
	if m := bearerShape.FindStringSubmatch(h.Get("WWW-Authenticate")); m != nil {
		e.Code, e.Bearer = m[1], true
		return e
	}
	var b struct {
		Code    string          `json:"code"`
		OAuth   string          `json:"error"`
		Context json.RawMessage `json:"context_info"`
	}
	_ = json.Unmarshal(body, &b) // what could be read of it is enough
	if e.Code = client.Word(b.Code); e.Code == "" {
		e.Code = client.Word(b.OAuth)
	}
	e.faults = faults(b.Context)
	return e
}

// faults reads context_info, which may have any form.
func faults(context json.RawMessage) []fault {
	var c struct {
		Errors []fault `json:"errors"`
	}
	if json.Unmarshal(context, &c) != nil {
		return nil
	}
	return c.Errors
}

// refusedWith says whether err is a refusal of the vendor's own with that status.
func refusedWith(err error, status int) bool {
	var e *APIError
	return errors.As(err, &e) && e.Status == status
}

// hasCode says whether err is a refusal of the vendor's own with one of the codes.
func hasCode(err error, codes ...string) bool {
	var e *APIError
	return errors.As(err, &e) && slices.Contains(codes, e.Code)
}

// tokenDead goes by the header first: the status of a dead token is 401 or 403
// (getFilesId, getFoldersId).
func tokenDead(err error) bool {
	var e *APIError
	if !errors.As(err, &e) {
		return false
	}
	if e.Bearer {
		return e.Code == codeDeadToken
	}
	return e.Status == http.StatusUnauthorized && remedies[e.Code] == ""
}
