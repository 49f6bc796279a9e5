package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
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
	of         events.Provider // empty: all
	took       time.Duration
	since      bool // took counts from the moment the revocation was sent
	details    map[string]any
}

// step prints a step and returns its error with the step's name.
func (p *printer) step(s step, err error) error {
	p.n++
	of := cmp.Or(s.of, "all")
	ms := float64(s.took.Microseconds()) / 1000
	if p.json {
		line := map[string]any{"step": s.name, "provider": of, "ok": err == nil, "ms": ms, "text": s.text}
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
		if err != nil {
			s.text = "FAILED: " + s.text
		}
		fmt.Fprintf(p.out, "%2d  %-11s  %-9s %s%7.1f ms  %s\n", p.n, of, s.name, sign, ms, s.text)
	}
	if err != nil {
		return fmt.Errorf("step %d, %s %s: %w", p.n, of, s.name, err)
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

// fact is something with its name.
type fact struct{ name, value string }

// facts prints every address and what can be pasted.
func (p *printer) facts(w *world) {
	hooks := w.listener.Addresses() // in the order of the configuration
	facts := slices.Concat(w.facts(), w.box.facts(hooks[0]), w.mural.facts(), w.ringcentralFacts(hooks[1]))
	paste := w.paste()
	if p.json {
		all := map[string]string{}
		for _, f := range slices.Concat(facts, paste) {
			all[f.name] = f.value
		}
		p.line(map[string]any{"serving": all})
		return
	}
	fmt.Fprintln(p.out, "\nServing until Ctrl-C. The simulated world and where it is:")
	for _, f := range facts {
		fmt.Fprintf(p.out, "  %-19s %s\n", f.name, f.value)
	}
	fmt.Fprintln(p.out, "\nTo paste into another terminal "+
		"(after the tour all are denied; grant again, and ask):")
	for _, f := range paste {
		fmt.Fprintf(p.out, "\n  # %s\n  %s\n", f.name, f.value)
	}
}

// redacted is an address without its password.
func redacted(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "given"
	}
	return u.Redacted()
}

// facts are where everything is.
func (w *world) facts() []fact {
	return []fact{
		{"listener admin", "http://" + w.listener.AdminAddr() + "/readyz"},
		{"subscriptions", "http://" + w.listener.AdminAddr() + "/v1/subscriptions, token " + w.deskToken},
		{"asking", w.asking()},
		{"worker admin", "http://" + w.worker.AdminAddr() + "/readyz"},
		{"redis", redacted(w.redisURL) + " (" + w.redisKind + ")"},
		{"nats", w.nats.URL()},
		{"vault key", w.cfg.NATS.VaultKey.Reveal()},
		{"app", clientID + " / " + clientSecret + ", everywhere"},
	}
}

func (w *world) ringcentralFacts(hook string) []fact {
	return []fact{
		{"ringcentral", w.simURL + "/sim/world"},
		{"ringcentral hook", hook},
		{"ringcentral service", admin + ", JWT " + serviceIn},
		{"ringcentral admin", admin + ", token " + w.adminAuth},
		{"ringcentral user", user + ", roles: " + oldRole + " ordinary, " + newRole + " without international calls"},
	}
}

func (w *world) asking() string { return "http://" + w.worker.Addr() + "/access/v1/evaluation" }

// paste are lines for a shell, those of each provider together.
func (w *world) paste() []fact {
	lines := w.questions("ringcentral", bea, grant)
	lines = append(lines,
		fact{"ringcentral: grant again", curl(http.MethodPut, w.roleURL(), w.adminAuth, roleBody(oldRole))},
		fact{"ringcentral: revoke", curl(http.MethodPut, w.roleURL(), w.adminAuth, roleBody(newRole))})
	box := w.box.paste()
	return slices.Concat(lines,
		w.questions("box folder", edgar, upload), box[:2], w.questions("box group", mia, inGroup), box[2:],
		w.questions("mural", eve, view), w.mural.paste())
}

// questions are the two ways to ask for a grant.
func (w *world) questions(name string, r events.Ref, g cache.Grant) []fact {
	about := fmt.Sprintf(`"provider":"%s"`, r.Provider)
	if r.Resource != "" {
		about += fmt.Sprintf(`,"resource":"%s"`, r.Resource)
	}
	body := fmt.Sprintf(`{"subject":{"type":"user","id":"%s"},"action":{"name":"%s"},`+
		`"resource":{"type":"tenant","id":"%s","properties":{%s}}}`, r.Subject, g, r.Tenant, about)
	return []fact{
		{name + ": read", fmt.Sprintf("redis-cli -u %s HMGET '%s' _until _covers %s",
			redacted(w.redisURL), cache.Keys{}.Entry(r), g)},
		{name + ": ask", fmt.Sprintf("curl -s %s -H 'Content-Type: application/json' -d '%s'", w.asking(), body)},
	}
}

// curl is a call of a vendor's API as a line for a shell. All that is given stands
// in single quotes: tokens of Box have an exclamation mark.
func curl(method, url, token, body string) string {
	line := fmt.Sprintf(`curl -s -X %s %s -H 'Authorization: Bearer %s'`, method, url, token)
	if body != "" {
		line += fmt.Sprintf(` -H 'Content-Type: application/json' -d '%s'`, body)
	}
	return line
}
