package listen_test

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/listen"
)

func TestWhatProvesAFeedAlive(t *testing.T) {
	const reminder = `{"uuid":"u","event":"/restapi/v1.0/subscription/~?threshold=1&interval=1","body":{}}`
	for name, c := range map[string]struct {
		body, header, token string
		publisher           memory
		status, want        int
	}{
		"a change":                {notice("u", "42"), "Verification-Token", token, memory{}, 200, 1},
		"a change that came late": {notice("u", "42"), "Verification-Token", token, memory{seen: true}, 200, 1},
		"a reminder":              {reminder, "Verification-Token", token, memory{}, 200, 1},
		"a forgery":               {notice("u", "42"), "Verification-Token", "wrong", memory{}, 401, 0},
		"what cannot be read":     {"{", "Verification-Token", token, memory{}, 400, 0},
		"a handshake":             {"", "Validation-Token", "echo", memory{}, 200, 0},
		"a change that is not stored": {notice("u", "42"), "Verification-Token", token,
			memory{err: errors.New("away")}, 503, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var got []time.Time
			missed := 0
			began := time.Now()
			h, err := listen.New(listen.Config{
				Publisher: &c.publisher, Log: slog.New(slog.DiscardHandler),
				Doors: []listen.Door{{Home: home, Path: part, Door: ringCentral(t)}},
				Heard: func(h events.Home, _ subscriptions.Origin, at time.Time) {
					if h != home {
						t.Errorf("told of %s", h)
					}
					got = append(got, at)
				},
				Missed: func(events.Home, time.Time) { missed++ },
			})
			if err != nil {
				t.Fatal(err)
			}
			to := listen.Address("http://l", home, part)
			r := httptest.NewRequest(http.MethodPost, to, strings.NewReader(c.body))
			r.Header.Set(c.header, c.token)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != c.status || len(got) != c.want {
				t.Fatalf("status %d, %d proofs; want %d and %d", w.Code, len(got), c.status, c.want)
			}
			if unstored := c.publisher.err != nil; unstored != (missed == 1) {
				t.Errorf("told of %d that were missed", missed)
			}
			if c.want > 0 && (got[0].Before(began) || got[0].After(time.Now())) {
				t.Errorf("proven at %s", got[0])
			}
		})
	}
}
