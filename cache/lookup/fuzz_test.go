package lookup_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/lookup"
)

// canned is a worker without a network that says the same to everybody.
type canned struct {
	status int
	retry  string
	body   []byte
}

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: c.status, Header: http.Header{"Retry-After": {c.retry}},
		Body: io.NopCloser(strings.NewReader(string(c.body))), Request: r}, nil
}

// Whatever stands where the worker should: a decision, or an error which is
// short, tells the token to nobody, and says which it is.
func FuzzHTTP(f *testing.F) {
	long := strings.Repeat("9", 20_000)
	for _, body := range []string{
		`{"decision":true,"context":{"state":"granted","version":"1","until":"2026-11-21T10:01:00.123Z"}}`,
		`{"decision":true,"context":{"until":"` + long + `"}}`, `{"decision":` + long + `}`, token, "", "null",
		`{"decision":true,"context":{"state":"granted","version":"` + long + `"}}`, strings.Repeat("[", 11_000),
		`{"decision":false,"Decision":true,"context":{"state":"granted"}}`,
		`{"decision":true,"context":{"state":"granted","width":{"` + token + `":1e999}}}`,
		`{"decision":true,"context":{"until":"` + token + `"}}`, `{"decision":true,"context":{"version":"` +
			token + `"}}`,
	} {
		f.Add(200, "", []byte(body))
		f.Add(503, "2147483647", []byte(body))
	}
	f.Add(429, "Sun, 06 Nov 2994 08:49:37 GMT", []byte(nil))
	f.Add(429, "-1", []byte(nil))
	f.Add(302, token, []byte(token))
	f.Fuzz(func(t *testing.T, status int, retry string, body []byte) {
		a := asker(t, lookup.HTTPOptions{URL: "http://w", Token: token,
			Client: &http.Client{Transport: canned{status, retry, body}}})
		d, err := a.Ask(t.Context(), ref("42", ""), read)
		if err == nil {
			if status != http.StatusOK || d.Source != lookup.FromWorker {
				t.Fatalf("status %d is %+v", status, d)
			}
			return
		}
		if len(err.Error()) > 1024 || strings.Contains(err.Error(), token) || !cmp.Equal(d, lookup.Decision{}) {
			t.Fatalf("%+v beside %d bytes: %.300s", d, len(err.Error()), err)
		}
		var refused *lookup.StatusError
		if isStatus := errors.As(err, &refused); isStatus != (status != http.StatusOK) {
			t.Fatalf("status %d: %v", status, err)
		} else if isStatus && (refused.RetryAfter < 0 || refused.Status != status) {
			t.Fatalf("%+v", refused)
		} else if !isStatus && !errors.Is(err, lookup.ErrReply) {
			t.Fatalf("of no kind: %v", err)
		}
	})
}

// An entry in Redis that somebody else has written is read, or unknown, in
// bounds.
func FuzzJudgeHead(f *testing.F) {
	f.Add("1795255200123", "1795255260123", "7", "permission", "Self", int64(1_795_255_200))
	f.Add(strings.Repeat("9", 5000), "-1", "\x00", ",", "", int64(0))
	f.Add("1", "281474976710656", "9007199254740993", "permission,permission", "*", int64(281_474_976_710))
	f.Fuzz(func(t *testing.T, asOf, until, version, covers, width string, now int64) {
		values := []any{until, covers, asOf, version, "", "1", width, nil}
		at := time.Unix(now, 0)
		d, err := lookup.Judge(at, values, []cache.Grant{read})
		if err != nil && (!errors.Is(err, cache.ErrUnreadable) || d.State != cache.Unknown ||
			len(err.Error()) > 512) {
			t.Fatalf("%+v, %v", d, err)
		}
		if left := d.Until.Sub(at); d.State != cache.Unknown && (left <= 0 ||
			left > cache.Ceiling+cache.ClockSlack) {
			t.Fatalf("%s for %s", d.State, left)
		}
		if d.Allowed() != (d.State == cache.Granted) || d.Allowed() && width == "" {
			t.Fatalf("%+v", d)
		}
	})
}
