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
// [subscriptions.ErrGone], or to [subscriptions.ErrMisconfigured] with
// [subscriptions.ErrFull] or [subscriptions.ErrUnreachable] where it is one of
// these. It repeats codes and never messages: those are localised and may
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
		{": ", e.meaning().remedy}, {", request ", e.RequestID},
	} {
		if part.text != "" {
			s += part.before + part.text
		}
	}
	return s
}

// Unwrap is the families that it belongs to; none if it may pass.
func (e *APIError) Unwrap() []error { return e.meaning().families }

// meaning is the row of the code, but for what the operation tells more of.
func (e *APIError) meaning() meaning {
	m, listed := meanings[e.code()]
	renews := e.Operation == opUpdateSubscription.Name
	registers := renews || e.Operation == opCreateSubscription.Name
	unknown := e.Status == http.StatusForbidden ||
		e.Status == http.StatusBadRequest && strings.HasPrefix(e.code(), "SUB-")
	switch code := e.code(); {
	case code == codeNotFound && e.Parameter == "accountId":
		return meaning{noRight, "check the tenant's id"}
	case renews && e.Status == http.StatusNotFound:
		return meaning{gone, ""} // under whatever code
	case code == codeParameter && e.Parameter == "deliveryMode.address":
		return meaning{unreachable, "RingCentral does not take it: it must be https, with a public host"}
	case registers && unknown && !listed:
		return meaning{noRight, "not a code that we know, RingCentral's support does"}
	}
	return m
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
	codeParameter = "CMN-101"
	codeNotFound  = "CMN-102"
	codeNoFeature = "CMN-109"
	codeNoApp     = "CMN-401"
	codeWrongType = "CMN-403"
	codeForeign   = "CMN-404"
	codeNoLogin   = "CMN-405"
)

// The families of refusals.
var (
	gone        = []error{subscriptions.ErrGone}
	noRight     = []error{subscriptions.ErrMisconfigured}
	full        = []error{subscriptions.ErrMisconfigured, subscriptions.ErrFull}
	unreachable = []error{subscriptions.ErrMisconfigured, subscriptions.ErrUnreachable}
)

// meaning is what a code means to us, and what a person must do.
type meaning struct {
	families []error
	remedy   string
}

// meanings: a code that does not stand here is no fault of configuration.
var meanings = map[string]meaning{
	codeNotFound: {gone, ""},

	// Rights (errors.md).
	codeNoApp: {noRight, "give the app the permission (ReadAccounts and SubscriptionWebhook are needed) " +
		"and authorise it again"},
	"CMN-402": {noRight, "the service user must be an administrator"},
	"CMN-408": {noRight, "give the service user's role the permission"},
	"CMN-419": {noRight, "give the service user's role the permission with a scope that covers other extensions"},
	// The alias of CMN-401 where it stands alone.
	"InsufficientPermissions": {noRight, "give the app and the service user's role the permission"},

	// Registrations (createSubscription in the API description of 2021; creating-webhooks.md).
	"SUB-405": {noRight, "an event is not told to the service user: it must be an administrator"},
	"SUB-406": {noRight, "the service user is of another account: check the tenant's id and its JWT credential"},
	"SUB-505": {full, "RingCentral allows 30 subscriptions for a user and app, rely on 20: " +
		"remove some over there, or use another service user"},
	"SUB-507": {gone, ""},
	"SUB-508": {noRight, "RingCentral does not know an event filter any more: a newer Rescind may"},
	"SUB-516": {noRight, "the life is too short for reminders: raise subscription_life"},
	"SUB-520": {unreachable, "it did not return Validation-Token: " +
		"the address must lead to a listener, and a proxy must let the header pass both ways"},
	"SUB-521": {unreachable, "RingCentral cannot connect to it, or got no answer within 3 s: " +
		"look at its DNS, firewall and proxy; TLS must be 1.2 or later"},
	"SUB-522": {unreachable, "it did not answer 200: something stands before the listener, " +
		"or the address is an old one"}, // the vendor's API explorer of 2018
	"SUB-523": {unreachable, "it is not https"},
	"SUB-524": {unreachable, "its certificate is not valid, often because an intermediate is missing: " +
		"serve the whole chain up to a public root"}, // configuring-tls-ssl.md
	"SUB-525": {unreachable, "its answer to the handshake is not JSON, or with its headers larger than " +
		"1024 bytes: a proxy adds to it, or answers instead"},
	"SUB-527": {noRight, "an event of another extension is not told to the service user"},

	// Credentials (errors.md).
	"OAU-123": {noRight, "check the client id and secret"},
	"OAU-127": {noRight, "check the client id and secret"},
	"OAU-140": {noRight, "check the JWT credential: it may have been revoked, or not be meant for this app"},
	"OAU-151": {noRight, "check the app's authentication method"},
	"OAU-232": {noRight, "the service user does not exist"},
	"OAU-236": {noRight, "the service user is disabled"},
	"OAU-251": {noRight, "the app must be allowed the JWT grant"},
	"AGW-401": {noRight, "check the client id and secret"},

	// RFC 6749, section 5.2.
	"invalid_client":         {noRight, "check the client id and secret"},
	"invalid_grant":          {noRight, "check the credential: it may have been revoked"},
	"invalid_request":        {noRight, "the token endpoint wants another request"},
	"invalid_scope":          {noRight, "check the scopes of the app"},
	"invalid_target":         {noRight, "check the audience"},
	"unauthorized_client":    {noRight, "the app must be allowed this grant"},
	"unsupported_grant_type": {noRight, "the token endpoint does not know this grant"},
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
	return oauth && e.meaning().families == nil
}
