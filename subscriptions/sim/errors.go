package sim

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// apiError is a refusal in the vendor's words. The code is what stands in errors[0]; the alias, when there is
// one, takes its place at the top of the hoisted shape.
type apiError struct {
	status  int
	code    string
	alias   string
	message string
	oauth   string            // RFC 6749 error name, on the token endpoints only
	extra   map[string]string // parameterName, permissionName, ...
	retry   time.Duration     // told in Retry-After when above zero
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func errParameter(name, value string) *apiError {
	return &apiError{status: http.StatusBadRequest, code: "CMN-101", alias: "InvalidParameter",
		message: "Parameter [" + name + "] value is invalid",
		extra:   map[string]string{"parameterName": name, "parameterValue": value}}
}

func errNotFound(name string) *apiError {
	return &apiError{status: http.StatusNotFound, code: "CMN-102",
		message: "Resource for parameter [" + name + "] is not found",
		extra:   map[string]string{"parameterName": name}}
}

func errForeign() *apiError {
	return &apiError{status: http.StatusForbidden, code: "CMN-404",
		message: "Attempt to access another extension"}
}

func errAppPermission(name string) *apiError {
	return &apiError{status: http.StatusForbidden, code: "CMN-401", alias: "InsufficientPermissions",
		message: "In order to call this API endpoint, application needs to have [" + name + "] permission",
		extra:   map[string]string{"permissionName": name}}
}

func errUserPermission(name string) *apiError {
	return &apiError{status: http.StatusForbidden, code: "CMN-408",
		message: "In order to call this API endpoint, user needs to have [" + name +
			"] permission for requested resource.",
		extra: map[string]string{"permissionName": name}}
}

// errReach is a permission held for oneself only and used on somebody else. The vendor spells its extra
// "permissionsName" here.
func errReach(name string) *apiError {
	return &apiError{status: http.StatusForbidden, code: "CMN-419",
		message: "In order to call this API endpoint, user needs to have [" + name +
			"] permission for the requested extension.",
		extra: map[string]string{"permissionsName": name}}
}

func errToken(code, message string) *apiError {
	e := &apiError{status: http.StatusUnauthorized, code: code, message: message}
	if code == "OAU-213" || code == "OAU-149" {
		e.alias = "TokenInvalid"
	}
	return e
}

func errRate(penalty time.Duration) *apiError {
	return &apiError{status: http.StatusTooManyRequests, code: "CMN-301", message: "Request rate exceeded",
		retry: penalty}
}

func errOAuth(name, code, description string) *apiError {
	return &apiError{status: http.StatusBadRequest, code: code, oauth: name, message: description}
}

func errSubscription(status int, code, message string) *apiError {
	return &apiError{status: status, code: code, message: message}
}

// errStatus is the refusal that a fault asks for.
func errStatus(status int) *apiError {
	switch status {
	case http.StatusTooManyRequests:
		return errRate(vendorPenalty)
	case http.StatusServiceUnavailable:
		return &apiError{status: status, code: "CMN-201", message: "Service Temporary Unavailable"}
	case http.StatusUnauthorized:
		return errToken("OAU-213", "Token not found")
	}
	return &apiError{status: status, code: "CMN-203", message: "Internal Server Error"}
}

// refusals are the codes with which a call can be refused on request, and their statuses: those that the
// vendor's documents list for registrations.
var refusals = map[string]int{
	"CMN-101": http.StatusBadRequest, "CMN-102": http.StatusNotFound, "CMN-401": http.StatusForbidden,
	"CMN-408": http.StatusForbidden, "OAU-232": http.StatusBadRequest, "OAU-236": http.StatusBadRequest,
	"SUB-405": http.StatusForbidden, "SUB-406": http.StatusForbidden, "SUB-505": http.StatusForbidden,
	"SUB-507": http.StatusNotFound, "SUB-508": http.StatusBadRequest, "SUB-516": http.StatusBadRequest,
	"SUB-520": http.StatusBadRequest, "SUB-521": http.StatusBadRequest, "SUB-522": http.StatusBadRequest,
	"SUB-523": http.StatusBadRequest, "SUB-524": http.StatusBadRequest, "SUB-525": http.StatusBadRequest,
	"SUB-527": http.StatusForbidden,
}

// body is the refusal as JSON. The bare shape is all that the vendor's description promises; the hoisted one
// is what is observed. OAuth refusals have the two fields of RFC 6749 beside it.
func (e *apiError) body(bare bool) map[string]any {
	inner := map[string]string{"errorCode": e.code, "message": e.message}
	body := map[string]any{"errors": []map[string]string{inner}}
	for k, v := range e.extra {
		inner[k] = v
	}
	if e.oauth != "" {
		body["error"], body["error_description"] = e.oauth, e.message
		return body
	}
	if bare {
		return body
	}
	for k, v := range inner {
		body[k] = v
	}
	if e.alias != "" {
		body["errorCode"] = e.alias
	}
	return body
}

func asAPIError(err error) *apiError {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e
	}
	return &apiError{status: http.StatusInternalServerError, code: "CMN-203",
		message: fmt.Sprintf("Internal Server Error: %v", err)}
}
