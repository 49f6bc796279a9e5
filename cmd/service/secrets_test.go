package service_test

import (
	"context"
	"encoding/base64"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// accessToken is what the simulator's tokens look like.
var accessToken = regexp.MustCompile(`SIM[A-Z2-7]{26}`)

// leaked names the secrets that stand in a text.
func leaked(w *world, text string) (names []string) {
	for name, secret := range map[string]string{
		"client secret": clientSecret, "verification token": verificationToken, "address key": addressKey,
		"ask token": askToken, "JWT": jwt, "vault key": vaultKey, "exchange secret": sim.ExchangeSecret,
		"vault key in base64": base64.StdEncoding.EncodeToString([]byte(vaultKey)),
		"address":             subscriptions.AddressPart(w.cfg.Listener.AddressKey, home),
	} {
		if strings.Contains(text, secret) {
			names = append(names, name)
		}
	}
	if accessToken.MatchString(text) {
		names = append(names, "access token")
	}
	return names
}

// A whole life, with trouble of every kind, at the level that tells most.
func TestNothingSecretIsWritten(t *testing.T) {
	w := startWorld(t, options{exchange: true})
	before := w.expect(bea, cache.Granted, abroad)
	w.assign(bea, lesserRole)
	w.refreshed(bea, before)
	w.sim.RefuseExchange(cem, true) // so that the service token is used as well
	w.expect(cem, cache.Granted, abroad)
	kept := w.allOfRedis()
	w.trouble()
	w.sim.ClearFaults()
	if !accessToken.MatchString(w.sim.IssueToken(bea, []string{"ReadAccounts"})) {
		t.Fatal("tokens look otherwise: this test finds nothing")
	}
	_, ready := w.get(w.worker.it.AdminAddr(), "/readyz")
	_, metrics := w.get(w.worker.it.AdminAddr(), "/metrics")
	_, more := w.get(w.listener.it.AdminAddr(), "/metrics")
	w.listener.stop(t)
	w.worker.stop(t)
	for where, text := range map[string]string{
		"the log": w.log.String(), "readiness": ready, "metrics": metrics + more,
		"NATS's files": w.filesOfNATS(), "Redis": kept + w.allOfRedis(),
	} {
		if len(text) == 0 {
			t.Errorf("%s: nothing to look at", where)
		}
		if leaks := leaked(w, text); len(leaks) > 0 {
			t.Errorf("%s: %v", where, leaks)
		}
	}
}

// trouble lets everything be refused once: tokens, calls, deliveries, asks.
func (w *world) trouble() {
	w.t.Helper()
	address := w.listener.it.Addresses()[0]
	for _, token := range []string{"wrong-" + verificationToken[:5], verificationToken} {
		if _, err := w.send(address, token, []byte(`{"event": 7}`)); err != nil {
			w.t.Fatal(err)
		}
	}
	if status, _ := w.send(address+"x", verificationToken, nil); status != http.StatusNotFound {
		w.t.Errorf("status %d", status)
	}
	for _, op := range []string{"getToken", "exchangeToken", rolesCall} {
		for _, status := range []int{400, 401, 429, 500} {
			w.fault(sim.Fault{Operation: op, Kind: sim.Status, Status: status, Count: 1})
			w.tell(op+http.StatusText(status), events.AppTag, events.TenantTag)
			if _, err := w.ask(w.worker, cem, abroad); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	w.fault(sim.Fault{Operation: "exchangeToken", Kind: sim.Truncate, Count: 1})
	w.tell("cut", events.AppTag, events.TenantTag)
	if _, err := w.ask(w.worker, bea, abroad); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) filesOfNATS() string {
	w.t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(w.natsOpts.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all.Write(b)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all.String()
}

func (w *world) allOfRedis() string {
	w.t.Helper()
	var all strings.Builder
	for _, key := range w.keys("*") {
		dump, err := w.rdb.HGetAll(context.Background(), key).Result()
		if err != nil {
			continue // bookkeeping, not a hash
		}
		for field, value := range dump {
			all.WriteString(key + " " + field + " " + value + "\n")
		}
	}
	return all.String()
}
