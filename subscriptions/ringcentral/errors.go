package ringcentral

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// APIError is a refusal by RingCentral. It unwraps to
// [subscriptions.ErrGone] or [subscriptions.ErrMisconfigured] where it is one
// of these. It repeats codes and never messages: those are localised and may
// hold anything.
type APIError struct {
	// Operation is the vendor's operationId.
	Operation string
	Status    int
	// Code is the code of the first error, such as CMN-408; Alias the one at
	// the top, which may be another (InsufficientPermissions, TokenInvalid).
	Code, Alias string
	// Parameter and Permission are what the vendor says is at fault.
	Parameter, Permission string
	// RequestID is the vendor's RCRequestId.
	RequestID string
}

// Error names the client.Op, the codes, the remedy if one is known, and the
// request id for the vendor's support.
func (e *APIError) Error() string {
	s := fmt.Sprintf("ringcentral %s: status %d", e.Operation, e.Status)
	for _, part := range []struct{ before, text string }{
		{" ", e.Code}, {" ", e.alias()}, {", parameter ", e.Parameter}, {", permission ", e.Permission},
		{": ", remedies[e.code()]}, {", request ", e.RequestID},
	} {
		if part.text != "" {
			s += part.before + part.text
		}
	}
	return s
}

// Unwrap is the family.
func (e *APIError) Unwrap() error {
	switch code := e.code(); {
	case code == codeNotFound && e.Parameter == "accountId":
		return subscriptions.ErrMisconfigured
	case code == codeNotFound, code == "SUB-507":
		return subscriptions.ErrGone
	case remedies[code] != "":
		return subscriptions.ErrMisconfigured
	}
	return nil
}

func (e *APIError) alias() string {
	if e.Alias == e.Code {
		return ""
	}
	return e.Alias
}

// code is the first error's, else the one at the top.
func (e *APIError) code() string {
	if e.Code != "" {
		return e.Code
	}
	return e.Alias
}

// The codes that steer us (errors.md and the API description of 2021).
const (
	codeNotFound  = "CMN-102"
	codeNoFeature = "CMN-109"
	codeNoApp     = "CMN-401"
	codeWrongType = "CMN-403"
	codeForeign   = "CMN-404"
	codeNoLogin   = "CMN-405"
)

// remedies says what a person must do; a code that stands here is a fault of
// configuration.
var remedies = map[string]string{
	codeNoApp: "give the app the permission (ReadAccounts and SubscriptionWebhook are needed) " +
		"and authorise it again",
	"CMN-402": "the service user must be an administrator",
	"CMN-408": "give the service user's role the permission",
	"CMN-419": "give the service user's role the permission with a scope that covers other extensions",
	"SUB-505": "the service user has too many subscriptions: delete those that are not in use",
	"SUB-520": "the address did not return Validation-Token: it must lead to the listener",
	"SUB-521": "the address cannot be reached from the Internet",
	"SUB-522": "the address cannot be used",
	"SUB-523": "the address must be https",
	"SUB-524": "the address's certificate is not valid, often an intermediate is missing",
	"SUB-525": "the address's reply is too large or not JSON: something stands before the listener",
	"SUB-526": "the address cannot be used",
	"SUB-527": "the address cannot be used",
	"SUB-528": "the address cannot be used",
	"SUB-529": "the address cannot be used",
	"OAU-123": "check the client id and secret",
	"OAU-127": "check the client id and secret",
	"OAU-140": "check the JWT credential: it may have been revoked, or not be meant for this app",
	"OAU-151": "check the app's authentication method",
	"OAU-232": "the service user does not exist",
	"OAU-236": "the service user is disabled",
	"OAU-251": "the app must be allowed the JWT grant",
	"AGW-401": "check the client id and secret",
	// RFC 6749, section 5.2.
	"invalid_client":         "check the client id and secret",
	"invalid_grant":          "check the credential: it may have been revoked",
	"invalid_request":        "the token endpoint wants another request",
	"invalid_scope":          "check the scopes of the app",
	"invalid_target":         "check the audience",
	"unauthorized_client":    "the app must be allowed this grant",
	"unsupported_grant_type": "the token endpoint does not know this grant",
}

// errorBody is both shapes: the list, and the first error hoisted to the top.
type errorBody struct {
	fault
	OAuth  string  `json:"error"`
	Errors []fault `json:"errors"`
}

type fault struct {
	Code       string `json:"errorCode"`
	Parameter  string `json:"parameterName"`
	Permission string `json:"permissionName"`
	// CMN-419 spells it so.
	Permissions string `json:"permissionsName"`
}

// refusal reads an error reply. A body of another form leaves the status.
func refusal(op client.Op, status int, h http.Header, body []byte) error {
	var b errorBody
	_ = json.Unmarshal(body, &b) // what could be read of it is enough
	first := b.fault
	if len(b.Errors) > 0 {
		first = b.Errors[0]
	}
	alias := b.Code
	if alias == "" {
		alias = b.OAuth
	}
	permission := first.Permission
	if permission == "" {
		permission = first.Permissions
	}
	return &APIError{
		Operation: op.Name, Status: status, Code: client.Word(first.Code), Alias: client.Word(alias),
		Parameter: client.Word(first.Parameter), Permission: client.Word(permission), RequestID: client.Word(h.Get("RCRequestId")),
	}
}

// hasCode says whether err is a refusal with that status and one of the codes.
func hasCode(err error, status int, codes ...string) bool {
	var e *APIError
	return errors.As(err, &e) && e.Status == status && slices.Contains(codes, e.code())
}

// tokenDead says whether a new token may help: expired, corrupted, unknown or
// evicted, but not a fault of the app's own credentials.
func tokenDead(err error) bool {
	var e *APIError
	if !errors.As(err, &e) || e.Status != http.StatusUnauthorized {
		return false
	}
	oauth := strings.HasPrefix(e.code(), "OAU-") || e.code() == "TokenInvalid" || e.code() == codeNoLogin
	return oauth && remedies[e.code()] == ""
}
