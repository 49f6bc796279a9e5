package listen_test

import (
	"bufio"
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/rescindhq/rescind/subscriptions/listen"
)

// Any request: one of the statuses that are promised, nothing published but
// for who has the token, and not a word of a secret.
func FuzzRequest(f *testing.F) {
	path := "/hooks/ringcentral/" + part
	ok := good("POST", path)
	for _, s := range []string{
		ok, good("GET", path), good("POST", path+"x"), strings.Replace(ok, token, "x", 1), strings.Replace(ok,
			auth, "", 1),
		request("POST", path, 0, "Validation-Token: abc"), request("POST", path, 0, "Validation-Token: "+token),
		request("POST", path, -1, auth, "Transfer-Encoding: chunked") + chunked(notice("u", "\x00"), 7),
		request("POST", path, 99, auth) + "{", request("OPTIONS", "*", -1), request("CONNECT", "a:1", -1),
		strings.Replace(ok, `"Permissions"`, `"AccountStatus"`, 1), strings.Replace(ok, "37439510", "1", 1),
		strings.Replace(ok, "hooks", "%68ooks", 1), request("POST", path, 2000, auth) + strings.Repeat("[", 2000),
	} {
		f.Add([]byte(s))
	}
	known := []int{200, 400, 401, 404, 405, 413}
	provider := ringCentral(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		log, stored := &journal{}, &memory{}
		h, err := listen.New(listen.Config{Publisher: stored, MaxBody: 1024,
			Log:   slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Doors: []listen.Door{{Home: home, Path: part, Door: provider}}})
		if err != nil {
			t.Fatal(err)
		}
		right := slices.Contains([]string{r.Header.Get("Verification-Token"), r.Header.Get("Validation-Token")},
			token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		lines := log.lines(t)
		if !slices.Contains(known, w.Code) || len(lines) != 1 || log.has("SECRET") || log.has("panicked") {
			t.Fatalf("status %d, logged %s", w.Code, log)
		}
		if n := len(stored.got); n > 1 || n == 1 && (!right || w.Code != 200 || stored.got[0].Validate() != nil) {
			t.Fatalf("status %d, token %t, published %+v", w.Code, right, stored.got)
		}
		if r.URL.Path != path && w.Code != 404 {
			t.Fatalf("status %d at %q", w.Code, r.URL.Path)
		}
		if strings.Contains(w.Body.String(), "SECRET") || w.Body.Len() > 64 {
			t.Fatalf("answered %q", w.Body)
		}
	})
}
