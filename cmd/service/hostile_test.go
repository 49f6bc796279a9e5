package service_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/ask"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events/stream"
)

// told is every reply to what was sent: status, headers and body.
type told struct {
	*world
	text     strings.Builder
	statuses []int
}

// say sends a request and keeps the reply. headers are names and values in turn.
func (w *told) say(method, target, body string, headers ...string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, target, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	resp, err := w.client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	fmt.Fprintf(&w.text, "%d %v %s\n", resp.StatusCode, resp.Header, b)
	w.statuses = append(w.statuses, resp.StatusCode)
}

// hostileBodies hold a secret wherever a delivery or a question can hold text.
func hostileBodies(secret string) []string {
	whole := string(notice("u-h", "s-1", bea))
	return []string{
		"", secret, `{"event":"` + secret + `"}`, `{"uuid":["` + secret + `"]}`, `{"` + secret + `":1}`,
		whole[:len(whole)-1] + `,"timestamp":"` + secret + `","ownerId":["` + secret + `"]}`,
		strings.ReplaceAll(whole, account, secret), strings.Repeat("[", 20_000),
	}
}

// assail sends deliveries to the listener, with every token but the right one
// and then with the right one, to every address but the right one and that.
func (w *told) assail() {
	right := w.listener.it.Addresses()[0]
	targets := []string{right, right + "x", right[:len(right)-1], strings.Replace(right, "ringcentral",
		"box", 1)}
	for _, secret := range []string{verificationToken, clientSecret, askToken, jwt, addressKey} {
		for i, body := range hostileBodies(secret) {
			for _, target := range targets {
				w.say("POST", target, body, "Verification-Token", "x"+secret)
				w.say("POST", target, body, "Validation-Token", verificationToken)
			}
			if i > 0 {
				w.say("POST", right, body, "Verification-Token", verificationToken, "Validation-Token", verificationToken)
			}
		}
		w.say("GET", right+"?"+secret, "", "Cookie", secret, "Authorization", "Bearer "+secret)
	}
}

// pester asks the worker: with tokens that are wrong in every way about
// anything, with the right one in ways that are no question, and properly.
func (w *told) pester() {
	target := "http://" + w.worker.it.Addr() + ask.Path
	usual := `{"subject":{"type":"user","id":"` + bea + `"},"action":{"name":"` + string(abroad) + `"},` +
		`"resource":{"type":"account","id":"` + account + `"}}`
	for _, token := range []string{
		"", "Bearer", "Bearer x" + askToken, "Basic " + askToken, askToken, "Bearer " + vaultKey, "Bearer " + jwt,
	} {
		for _, body := range append(hostileBodies(askToken), usual) {
			w.say("POST", target, body, "Authorization", token, "Content-Type", "application/json")
		}
	}
	for _, body := range []string{"", "null", "{", usual[1:], strings.Repeat("[", 20_000), `{"subject":7}`,
		strings.Replace(usual, bea, strings.Repeat("9", 300), 1), strings.Repeat(" ", 70<<10), usual} {
		w.say("POST", target, body, "Authorization", "Bearer "+askToken, "Content-Type", "application/json")
		w.say("POST", target, body, "Authorization", "Bearer "+askToken)
	}
	w.say("GET", target, "", "Authorization", "Bearer "+askToken)
	for _, admin := range []string{w.worker.it.AdminAddr(), w.listener.it.AdminAddr()} {
		for _, path := range []string{"/metrics", "/readyz", "/livez", "/debug/pprof/", "/" + askToken, "/.env"} {
			w.say("GET", "http://"+admin+path, "", "Authorization", "Bearer "+askToken)
			w.say("POST", "http://"+admin+path, askToken)
		}
	}
}

// messages are those of every stream, with subjects and headers.
func (w *world) messages() (all string, n int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	nc, err := stream.Connect(ctx, stream.ConnectOptions{URL: w.nats.URL(), Name: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	var text bytes.Buffer
	for _, name := range []string{stream.Changes, stream.Refreshes, stream.Graveyard, "KV_" + stream.Bucket} {
		s, err := js.Stream(ctx, name)
		if err != nil {
			w.t.Fatalf("%s: %v", name, err)
		}
		state := s.CachedInfo().State
		for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
			if m, err := s.GetMsg(ctx, seq); err == nil { // else it is gone again
				fmt.Fprintf(&text, "%s %v %s\n", m.Subject, m.Header, m.Data)
				n++
			}
		}
	}
	return text.String(), n
}

// Whatever a stranger sends to any port, and whoever knows half of it: no
// reply, no line at the level that tells most, no metric and no message in any
// stream holds a secret.
func TestNobodyIsToldASecret(t *testing.T) {
	w := &told{world: startWorld(t, options{exchange: true,
		edit: func(c *config.Config) { c.Log.Level = "debug" }})}
	w.expect(bea, cache.Granted, abroad)
	w.assail()
	w.pester()
	w.deliver(notice("u-last", "s-1", bea, cem))
	w.applied()
	w.expect(cem, cache.Granted, abroad)
	for _, status := range []int{200, 400, 401, 404, 405, 413} {
		if !slices.Contains(w.statuses, status) {
			t.Errorf("no reply had the status %d", status)
		}
	}
	messages, n := w.messages()
	if lines := len(w.log.lines(t, "delivery")); n == 0 || lines < 100 {
		t.Errorf("%d messages and %d lines: too few to look at", n, lines)
	}
	t.Logf("%d replies, %d bytes of log, %d messages", len(w.statuses), len(w.log.String()), n)
	for where, text := range map[string]string{
		"a reply": w.text.String(), "the log": w.log.String(), "a message": messages, "Redis": w.allOfRedis(),
	} {
		if leaks := leaked(w.world, text); len(leaks) > 0 || len(text) == 0 {
			t.Errorf("%s: %v", where, leaks)
		}
	}
}
