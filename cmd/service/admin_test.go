package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/cmd/service"
)

func TestAWorkerRefusesARedisThatBreaksPromises(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"eviction": {[]string{"--maxmemory-policy", "allkeys-lru"},
			[]string{`maxmemory-policy is "allkeys-lru" and must be "noeviction"`, "because|eviction"}},
		"snapshots": {[]string{"--save", "60 1"}, []string{`save is "60 1" and must be ""`, "snapshot"}},
		"a log":     {[]string{"--appendonly", "yes"}, []string{`appendonly is "yes" and must be "no"`, "log"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := startWorld(t, options{idle: true})
			if err := w.redis.Stop(); err != nil {
				t.Fatal(err)
			}
			w.startRedis(w.redis.Addr, c.args...)
			it, err := service.NewWorker(context.Background(), w.cfg, w.logger("worker"))
			if err == nil {
				run(t, it)
				t.Fatal("started")
			}
			for _, want := range c.want {
				found := slices.ContainsFunc(strings.Split(want, "|"),
					func(s string) bool { return strings.Contains(err.Error(), s) })
				if !found {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

// get reads from an admin address.
func (w *world) get(addr, path string) (status int, body string) {
	w.t.Helper()
	resp, err := w.client.Get("http://" + addr + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestReadinessNamesWhatIsMissing(t *testing.T) {
	w := startWorld(t, options{})
	admin := w.worker.it.AdminAddr()
	status, body := w.get(admin, "/readyz")
	if status != http.StatusOK || !strings.Contains(body, `"ready":true`) {
		t.Errorf("worker: %d %s", status, body)
	}
	if status, body := w.get(w.listener.it.AdminAddr(), "/readyz"); status != http.StatusOK {
		t.Errorf("listener: %d %s", status, body)
	}
	if err := w.rdb.ConfigSet(context.Background(), "maxmemory-policy", "allkeys-lru").Err(); err != nil {
		t.Fatal(err)
	}
	status, body = w.get(admin, "/readyz")
	var reply struct {
		Ready  bool
		Checks map[string]string
	}
	if err := json.Unmarshal([]byte(body), &reply); err != nil {
		t.Fatal(err)
	}
	if status != http.StatusServiceUnavailable || reply.Ready ||
		!strings.Contains(reply.Checks["redis_policy"], "maxmemory-policy") || reply.Checks["stream"] != "ok" {
		t.Errorf("%d %s", status, body)
	}
	for _, addr := range []string{admin, w.listener.it.AdminAddr()} {
		if status, body := w.get(addr, "/livez"); status != http.StatusOK || body != "ok\n" {
			t.Errorf("/livez: %d %q", status, body)
		}
	}
}

func TestMetricsHaveTheirNames(t *testing.T) {
	w := startWorld(t, options{})
	before := w.expect(bea, cache.Granted, abroad)
	w.assign(bea, lesserRole)
	w.refreshed(bea, before)
	w.await("counted", func() bool {
		_, text := w.get(w.worker.it.AdminAddr(), "/metrics")
		return strings.Contains(text, `rescind_refreshes_total{outcome="stored",provider="ringcentral"} 1`)
	})
	for addr, names := range map[string][]string{
		w.worker.it.AdminAddr(): {"rescind_asks_total", "rescind_ask_seconds", "rescind_changes_total",
			"rescind_entries_dropped_total", "rescind_fills_total", "rescind_commits_total",
			"rescind_refreshes_total", "rescind_refreshes_queued_total", "rescind_change_age_seconds",
			"rescind_fill_seconds", "rescind_refresh_lag_seconds", "rescind_invalidate_seconds",
			"go_goroutines", "process_resident_memory_bytes"},
		w.listener.it.AdminAddr(): {"rescind_deliveries_total", "rescind_delivery_seconds",
			"rescind_publish_seconds", "rescind_listener_connections", "rescind_subscription_active",
			"rescind_renewals_total"},
	} {
		_, text := w.get(addr, "/metrics")
		for _, name := range names {
			if !strings.Contains(text, "# TYPE "+name+" ") {
				t.Errorf("no metric %s", name)
			}
		}
		if strings.Contains(text, account) || strings.Contains(text, bea) {
			t.Error("a metric has a tenant or a subject")
		}
	}
}

// configFile writes what a world is configured with, secrets as variables.
func (w *world) configFile() string {
	w.t.Helper()
	c := w.cfg
	secret := func(name, value string) string {
		w.t.Setenv(name, value)
		return "env:" + name
	}
	text := fmt.Sprintf(`
nats: {url: %q, vault_key: %q}
redis: {url: %q}
listener: {addr: %q, admin_addr: "127.0.0.1:0", public_url: %q, address_key: %q}
worker: {addr: "127.0.0.1:0", admin_addr: "127.0.0.1:0", token: %q}
providers:
  ringcentral:
    {kind: ringcentral, base_url: %q, client_id: rescind-dev, client_secret: %q,
     tenants: [{id: %q, jwt: %q, verification_tokens: [%q]}]}
`, c.NATS.URL, secret("T_VAULT_KEY", c.NATS.VaultKey.Reveal()), c.Redis.URL, c.Listener.Addr,
		c.Listener.PublicURL, secret("T_ADDRESS_KEY", addressKey), secret("T_ASK_TOKEN", askToken),
		c.Providers[0].Plain["base_url"], secret("T_CLIENT_SECRET", clientSecret), account, secret("T_JWT", jwt),
		secret("T_VERIFICATION_TOKEN", verificationToken))
	path := filepath.Join(w.t.TempDir(), "rescind.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// opened is what a command opens: the listener.
func opened(ctx context.Context, c *config.Config, log *slog.Logger) (service.Runner, error) {
	return service.NewListener(ctx, c, log)
}

// never is what a command must not open.
func never(context.Context, *config.Config, *slog.Logger) (service.Runner, error) {
	panic("opened")
}

func TestWrongUseIsExitTwo(t *testing.T) {
	t.Setenv(config.PathVariable, "")
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.yml")
	if err := os.WriteFile(broken, []byte("nats: {urll: x}\nredis: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	unknown := filepath.Join(dir, "unknown.yml")
	if err := os.WriteFile(unknown, []byte("nats: {urll: x}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want int
		says string
	}{
		"no configuration": {nil, service.ExitUsage, "give -config or set " + config.PathVariable},
		"no such file":     {[]string{"-config", filepath.Join(dir, "none")}, service.ExitUsage, "no such file"},
		"a folder":         {[]string{"-config", dir}, service.ExitUsage, "is no regular file"},
		"no YAML":          {[]string{"-config", broken}, service.ExitUsage, "broken.yml"},
		"an unknown field": {[]string{"-config", unknown}, service.ExitUsage, "nats.urll"},
		"an unknown flag":  {[]string{"-x"}, service.ExitUsage, "not defined: -x"},
		"help":             {[]string{"-h"}, service.ExitOK, "usage: listener -config"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, problems bytes.Buffer
			code := service.RunCommand(t.Context(), config.RoleListener, never, c.args, &out, &problems)
			if code != c.want || !strings.Contains(problems.String(), c.says) {
				t.Errorf("exit %d, %q; want %d, %q", code, problems.String(), c.want, c.says)
			}
			if out.Len() > 0 {
				t.Errorf("standard output: %q", out.String())
			}
		})
	}
	var out, problems bytes.Buffer
	code := service.RunCommand(t.Context(), config.RoleWorker, never, []string{"-version"}, &out, &problems)
	if code != service.ExitOK || strings.TrimSpace(out.String()) != service.Version() {
		t.Errorf("-version: exit %d, %q", code, out.String())
	}
}

func TestCheckPrintsTheConfigurationRedacted(t *testing.T) {
	w := startWorld(t, options{idle: true})
	for _, role := range []config.Role{config.RoleListener, config.RoleWorker} {
		var out, problems bytes.Buffer
		args := []string{"-config", w.configFile(), "-check"}
		if code := service.RunCommand(t.Context(), role, never, args, &out, &problems); code != service.ExitOK {
			t.Fatalf("%s: exit %d: %s", role, code, problems.String())
		}
		for _, want := range []string{"client_id: rescind-dev", "T_CLIENT_SECRET", "max_connections: 1024"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in\n%s", role, want, out.String())
			}
		}
		if leaks := leaked(w, out.String()+problems.String()); len(leaks) > 0 {
			t.Errorf("%s: it shows %v", role, leaks)
		}
	}
}

func TestTheCommandServesAndStops(t *testing.T) {
	w := startWorld(t, options{idle: true})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan int, 1)
	args := []string{"-config", w.configFile()}
	go func() { done <- service.RunCommand(ctx, config.RoleListener, opened, args, io.Discard, w.log) }()
	w.await("subscribed", func() bool { return len(w.sim.Subscriptions()) == 1 })
	cancel()
	if code := <-done; code != service.ExitOK {
		t.Errorf("exit %d: %s", code, w.log)
	}
	if got := len(w.log.lines(t, "listener stopped")); got != 1 {
		t.Errorf("%d lines say that it stopped", got)
	}
}

func TestAPortThatIsTakenIsExitOne(t *testing.T) {
	w := startWorld(t, options{idle: true})
	taken, err := net.Listen("tcp", w.cfg.Listener.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	start := time.Now()
	args := []string{"-config", w.configFile()}
	code := service.RunCommand(ctx, config.RoleListener, opened, args, io.Discard, w.log)
	if code != service.ExitFailed || !strings.Contains(w.log.String(), "listener.addr") {
		t.Errorf("exit %d after %s: %s", code, time.Since(start), w.log)
	}
}
