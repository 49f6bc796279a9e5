package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/rescindhq/rescind/cache"
)

// printer writes the tour for people or for programs.
type printer struct {
	out  io.Writer
	json bool
	n    int
}

func newPrinter(out io.Writer, asJSON bool) *printer { return &printer{out: out, json: asJSON} }

// step is one step of the tour.
type step struct {
	name, text string
	took       time.Duration
	since      bool // took counts from the moment the revocation was sent
	details    map[string]any
}

// step prints a step and returns its error with the step's name.
func (p *printer) step(s step, err error) error {
	p.n++
	ms := float64(s.took.Microseconds()) / 1000
	if p.json {
		line := map[string]any{"step": s.name, "ok": err == nil, "ms": ms, "text": s.text}
		if s.since {
			line["since"] = "revoke"
		}
		maps.Copy(line, s.details)
		if err != nil {
			line["error"] = err.Error()
		}
		p.line(line)
	} else {
		sign := " "
		if s.since {
			sign = "+"
		}
		fmt.Fprintf(p.out, "%2d  %-10s %s%8.1f ms  %s\n", p.n, s.name, sign, ms, s.text)
	}
	if err != nil {
		return fmt.Errorf("step %s: %w", s.name, err)
	}
	return nil
}

func (p *printer) line(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte(`{"error":"cannot be written as JSON"}`)
	}
	fmt.Fprintf(p.out, "%s\n", b)
}

// notice prints what must not be overlooked.
func (p *printer) notice(text string) {
	if p.json {
		p.line(map[string]any{"notice": text})
		return
	}
	fmt.Fprintf(p.out, "%s\n\n", text)
}

// facts prints every address and what can be pasted.
func (p *printer) facts(w *world) {
	key := cache.Keys{}.Entry(bea)
	role := func(id string) string {
		return fmt.Sprintf(`curl -s -X PUT %s/restapi/v1.0/account/%s/extension/%s/assigned-role -H "Authorization: Bearer %s" -H "Content-Type: application/json" -d '{"records":[{"id":"%s"}]}'`,
			w.simURL, account, user, w.adminAuth, id)
	}
	question := fmt.Sprintf(`{"subject":{"type":"user","id":"%s"},"action":{"name":"%s"},"resource":{"type":"tenant","id":"%s"}}`,
		user, grant, account)
	facts := []struct{ name, value string }{
		{"deliveries", w.listener.Addresses()[0]},
		{"listener admin", "http://" + w.listener.AdminAddr() + "/readyz"},
		{"asking", "http://" + w.worker.Addr() + "/access/v1/evaluation"},
		{"worker admin", "http://" + w.worker.AdminAddr() + "/readyz"},
		{"simulator", w.simURL + "/sim/world"},
		{"redis", w.redisURL + " (" + w.redisKind + ")"},
		{"nats", w.nats.URL()},
		{"app", "rescind-dev / rescind-dev-secret"},
		{"service user", admin + ", JWT " + serviceIn},
		{"administrator", admin + ", token " + w.adminAuth},
		{"user", user + ", roles: " + oldRole + " ordinary, " + newRole + " without international calls"},
	}
	paste := []struct{ name, value string }{
		{"read", fmt.Sprintf("redis-cli -u %s HMGET '%s' _until _covers %s", w.redisURL, key, grant)},
		{"ask", fmt.Sprintf("curl -s %s -H 'Content-Type: application/json' -d '%s'",
			"http://"+w.worker.Addr()+"/access/v1/evaluation", question)},
		{"grant again", role(oldRole)},
		{"revoke", role(newRole)},
	}
	if p.json {
		all := map[string]string{}
		for _, f := range append(facts, paste...) {
			all[f.name] = f.value
		}
		p.line(map[string]any{"serving": all})
		return
	}
	fmt.Fprintln(p.out, "\nServing until Ctrl-C. The simulated world and where it is:")
	for _, f := range facts {
		fmt.Fprintf(p.out, "  %-15s %s\n", f.name, f.value)
	}
	fmt.Fprintln(p.out, "\nTo paste into another terminal (after the tour the user is denied; grant again, and ask):")
	for _, f := range paste {
		fmt.Fprintf(p.out, "\n  # %s\n  %s\n", f.name, f.value)
	}
}
