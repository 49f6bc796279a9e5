package boxsim

import (
	"errors"
	"net/http"
	"time"
)

// ErrUnknown is what the methods of Box return, wrapped, for a user, group, item, collaboration or webhook
// that does not exist.
var ErrUnknown = errors.New("unknown")

// apiError is a refusal in the vendor's words. One with bearer has no body, one with oauth that of RFC 6749.
type apiError struct {
	status  int
	code    string
	message string
	bearer  bool // told in WWW-Authenticate, with the code as error
	oauth   bool
	context obj           // context_info
	retry   time.Duration // told in Retry-After when above zero
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func refuse(status int, code, message string) *apiError {
	return &apiError{status: status, code: code, message: message}
}

func errToken() *apiError {
	return &apiError{status: http.StatusUnauthorized, code: "invalid_token", bearer: true,
		message: "The access token provided is invalid."}
}

func errScope() *apiError {
	return &apiError{status: http.StatusForbidden, code: "insufficient_scope", bearer: true,
		message: "The request requires higher privileges than provided by the access token."}
}

func errDenied() *apiError {
	return refuse(http.StatusForbidden, "access_denied_insufficient_permissions",
		"Access denied - insufficient permission")
}

// errNotFound is also what hides things from who must not see them.
func errNotFound(name, value string) *apiError {
	e := refuse(http.StatusNotFound, "not_found", "Not Found")
	e.context = obj{"errors": []obj{{"reason": "invalid_parameter", "name": name,
		"message": "Invalid value '" + value + "'. '" + name + "' with value '" + value + "' not found"}}}
	return e
}

func errParameter(name, message string) *apiError {
	e := refuse(http.StatusBadRequest, "bad_request", "Bad Request")
	e.context = obj{"errors": []obj{{"reason": "invalid_parameter", "name": name, "message": message}}}
	return e
}

func errConflict(message string) *apiError { return refuse(http.StatusConflict, "conflict", message) }

func errOAuth(status int, name, description string) *apiError {
	return &apiError{status: status, code: name, oauth: true, message: description}
}

func errGrant(description string) *apiError {
	return errOAuth(http.StatusBadRequest, "invalid_grant", description)
}

func (c *call) errRate(wait time.Duration) *apiError {
	e := refuse(http.StatusTooManyRequests, "rate_limit_exceeded",
		"Request rate limit exceeded, please try again later")
	if c.quirks.TooManyRequests {
		e.code = "too_many_requests"
	}
	e.retry = wait
	return e
}

// errStatus is the refusal that a fault asks for; wait, when above zero, goes to Retry-After.
func (c *call) errStatus(status int, wait time.Duration) *apiError {
	var e *apiError
	switch status {
	case http.StatusTooManyRequests:
		return c.errRate(max(wait, time.Second))
	case http.StatusUnauthorized:
		return errToken()
	case http.StatusForbidden:
		return errDenied()
	case http.StatusNotFound:
		return errNotFound("item", "")
	case http.StatusBadGateway:
		e = refuse(status, "bad_gateway", "Bad Gateway")
	case http.StatusServiceUnavailable:
		e = refuse(status, "unavailable", "Unavailable")
	default:
		e = refuse(status, "internal_server_error", "Internal Server Error")
	}
	e.retry = wait
	return e
}

// body is the refusal as JSON; nil where there is none.
func (e *apiError) body(request string) any {
	switch {
	case e.bearer:
		return nil
	case e.oauth:
		return obj{"error": e.code, "error_description": e.message}
	}
	body := obj{"type": "error", "status": e.status, "code": e.code, "message": e.message, "request_id": request,
		"help_url": "https://developer.box.com/guides/api-calls/permissions-and-errors/common-errors/"}
	if e.context != nil {
		body["context_info"] = e.context
	}
	return body
}

func asAPIError(err error) *apiError {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e
	}
	return refuse(http.StatusInternalServerError, "internal_server_error", err.Error())
}
