package muralsim

import (
	"errors"
	"net/http"
	"strings"
	"time"
)

// apiError is a refusal in the vendor's words: {code, message, details}, or on the OAuth pages the error and
// error_description of RFC 6749.
type apiError struct {
	status  int
	code    string
	message string
	details []detail
	oauth   bool
	reset   time.Time // of the rate limit that was passed
}

type detail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func (e *apiError) body() any {
	if e.oauth {
		return map[string]string{"error": e.code, "error_description": e.message}
	}
	return struct {
		Code    string   `json:"code"`
		Message string   `json:"message"`
		Details []detail `json:"details,omitempty"`
	}{e.code, e.message, e.details}
}

func errUnauthorized() *apiError {
	return &apiError{status: http.StatusUnauthorized, code: "UNAUTHORIZED", message: "Unauthorized"}
}

func errExpired(q Quirks) *apiError {
	e := &apiError{status: http.StatusUnauthorized, code: "TOKEN_EXPIRED", message: "Token expired"}
	if q.ExpiredForbidden {
		e.status = http.StatusForbidden
	}
	return e
}

func errForbidden(message string) *apiError {
	return &apiError{status: http.StatusForbidden, code: "FORBIDDEN", message: message}
}

// errMissing is for what is not there or not to be seen: a Workspace, Room, Mural or User.
func errMissing(what string) *apiError {
	return &apiError{status: http.StatusNotFound, code: strings.ToUpper(what) + "_NOT_FOUND",
		message: what + " not found"}
}

func errQuery(code, message string) *apiError {
	return &apiError{status: http.StatusBadRequest, code: code, message: message}
}

// errBody refuses a body because of one field.
func errBody(field, message string) *apiError {
	return &apiError{status: http.StatusBadRequest, code: "BODY", message: "Invalid body",
		details: []detail{{Code: "BODY." + strings.ToUpper(field), Message: field + " " + message}}}
}

func errRate(reset time.Time) *apiError {
	return &apiError{status: http.StatusTooManyRequests, code: "RATE_LIMIT_EXCEEDED",
		message: "Too many requests", reset: reset}
}

func errOAuth(name, description string) *apiError {
	return &apiError{status: http.StatusBadRequest, code: name, message: description, oauth: true}
}

// errStatus is the refusal that a fault asks for.
func errStatus(status int, oauth bool, q Quirks) *apiError {
	code := map[int]string{400: "BODY", 403: "FORBIDDEN", 404: "NOT_FOUND", 429: "RATE_LIMIT_EXCEEDED"}[status]
	if oauth {
		code = map[int]string{400: "invalid_grant", 401: "invalid_client", 403: "access_denied"}[status]
	}
	switch {
	case status == http.StatusUnauthorized && !oauth:
		return errExpired(q)
	case code == "" && oauth:
		code = "server_error"
	case code == "":
		code = "INTERNAL_SERVER_ERROR"
	}
	return &apiError{status: status, code: code, message: http.StatusText(status), oauth: oauth}
}

func asAPIError(err error, oauth bool) *apiError {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e
	}
	return errStatus(http.StatusInternalServerError, oauth, Quirks{})
}
