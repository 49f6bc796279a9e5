package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The secrets of a world that lives for minutes on loopback.
const (
	askToken   = "faults-ask-token-of-the-world"
	addressKey = "faults-address-key-of-the-world"
	hookToken  = "faults-verification-token"
	vaultKey   = "ZmF1bHRzLXZhdWx0LWtleS1vZi10aGUtd29ybGQtMzI=" // 32 bytes
)

// life of an entry: short, so that what a lost delivery has left ends soon.
const life = 10 * time.Second

// openServices starts two listeners and two workers. One listener comes first
// and subscribes; the other finds that done.
func (w *world) openServices(ctx context.Context) error {
	path, err := w.configure()
	if err != nil {
		return err
	}
	for _, p := range w.listeners {
		p.args, p.ready = w.self(partListener, path), w.answersReady(p.second)
		p.env = []string{"RESCIND_LISTENER_ADDR=" + p.addr, "RESCIND_LISTENER_ADMIN_ADDR=" + p.second}
	}
	for _, name := range []string{"worker-1", "worker-2"} {
		p, err := w.newPart(name)
		if err != nil {
			return err
		}
		p.args, p.ready = w.self(partWorker, path), w.answersReady(p.second)
		p.env = []string{"RESCIND_WORKER_ADDR=" + p.addr, "RESCIND_WORKER_ADMIN_ADDR=" + p.second}
		w.workers = append(w.workers, p)
	}
	for _, p := range w.listeners {
		if err := p.start(ctx); err != nil {
			return err
		}
	}
	if err := startAll(ctx, w.workers...); err != nil {
		return err
	}
	if subs := w.sim.Subscriptions(); len(subs) != 1 || !strings.HasPrefix(subs[0].Address, w.hooksURL) {
		return fmt.Errorf("the prover is wrong: %d subscriptions", len(subs))
	}
	return nil
}

// configure writes what all services read.
func (w *world) configure() (path string, err error) {
	secret := func(name, value string) string {
		file, werr := w.write(name, value)
		if werr != nil {
			err = werr
		}
		return "file:" + file
	}
	var urls []string
	for _, n := range w.nats {
		urls = append(urls, "nats://"+n.proxy.addr)
	}
	text, merr := json.MarshalIndent(map[string]any{ // which is YAML too
		"nats": map[string]any{"url": strings.Join(urls, ","), "replicas": nodes,
			"vault_key": secret("vault.key", vaultKey)},
		"redis": map[string]any{"url": "redis-sentinel://" + w.sentinel.addr + "/0#" + primaryName,
			"replicas": 1, "replica_wait": "1s"},
		"listener": map[string]any{"public_url": w.hooksURL, "address_key": secret("address.key", addressKey)},
		"worker":   map[string]any{"token": secret("ask.token", askToken), "life": life.String()},
		"log":      map[string]any{"level": "info", "format": "json"},
		"providers": map[string]any{string(home.Provider): map[string]any{
			"kind": "ringcentral", "base_url": w.simURL, "client_id": "rescind-dev",
			"client_secret": secret("client.secret", "rescind-dev-secret"),
			"tenants": []any{map[string]any{
				"id": account, "jwt": secret("jwt", "sim-service-jwt"),
				"verification_tokens": []any{secret("hook.token", hookToken)},
			}},
		}},
	}, "", "  ")
	if err = errors.Join(err, merr); err != nil {
		return "", fmt.Errorf("configure: %w", err)
	}
	return w.write("rescind.yml", string(text))
}

// answersReady asks a service whether it has all it needs.
func (w *world) answersReady(admin string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", nil)
		if err != nil {
			return false
		}
		resp, err := (&http.Client{Transport: w.transport, Timeout: 3 * time.Second}).Do(r)
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	}
}
