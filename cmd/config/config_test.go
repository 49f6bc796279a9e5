package config_test

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
	"github.com/rescindhq/rescind/subscriptions/providers"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Every secret of the tests holds this, so that it can be looked for.
const leak = "hunter2"

// environ is what the sample file needs.
func environ(more ...string) []string {
	return append([]string{
		"PATH=/bin", "RESCIND_CONFIG=/etc/rescind.yml",
		"NATS_PASSWORD=nats-hunter2-password", "REDIS_PASSWORD=redis-hunter2-password",
		"RESCIND_ADDRESS_KEY=address-hunter2-key", "RESCIND_ASK_TOKEN=asking-hunter2-token",
		"RESCIND_VAULT_KEY=" + base64.StdEncoding.EncodeToString([]byte("hunter2-hunter2-hunter2-hunter2-")),
		"RC_CLIENT_SECRET=client-hunter2-secret", "RC_JWT=jwt-hunter2",
		"RC_VERIFICATION_TOKEN=verification-hunter2",
	}, more...)
}

func sample(t *testing.T, more ...string) *config.Config {
	t.Helper()
	c, err := config.Load("testdata/rescind.yml", environ(more...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// golden compares with a file, or writes it.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), write it anew with -update:\n%s", path, diff)
	}
}

func TestSampleIsValidForBothRoles(t *testing.T) {
	c := sample(t)
	for _, roles := range [][]config.Role{
		{config.RoleListener}, {config.RoleWorker}, {config.RoleListener, config.RoleWorker},
	} {
		if err := c.Validate(roles...); err != nil {
			t.Errorf("%v: %v", roles, err)
		}
	}
}

func TestDefaultsAreValid(t *testing.T) {
	c, err := config.Parse(nil, "empty", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(config.Default().Effective()), string(c.Effective())); diff != "" {
		t.Errorf("an empty file is not the default:\n%s", diff)
	}
	if w := c.Worker; w.Life != cache.DefaultLife || w.MaxLife != cache.Ceiling || c.Redis.Prefix != cache.DefaultPrefix {
		t.Errorf("life %s to %s, prefix %q: want the contract's", w.Life, w.MaxLife, c.Redis.Prefix)
	}
	// What a default cannot give is all that is missing.
	got := c.Validate(config.RoleListener, config.RoleWorker)
	want := "nats.vault_key: must be given, as env:NAME or file:/path\n" +
		"listener.public_url: must be given\n" +
		"listener.address_key: must be given, as env:NAME or file:/path\n" +
		"providers: give at least one"
	if got == nil || got.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", got, want)
	}
}

func TestEveryDefaultIsOfItsType(t *testing.T) {
	for _, f := range config.Fields() {
		if f.Default == "" || strings.Contains(f.Path, "<") {
			continue
		}
		if _, err := config.Parse(nil, "empty", []string{f.Env + "=" + f.Default}); err != nil {
			t.Errorf("%s: default %q: %v", f.Path, f.Default, err)
		}
	}
}

func TestEffective(t *testing.T) {
	c := sample(t, "RESCIND_WORKER_LIFE=90s")
	golden(t, "testdata/effective.golden", string(c.Effective()))
	if again := sample(t, "RESCIND_WORKER_LIFE=90s").Effective(); string(again) != string(c.Effective()) {
		t.Error("two readings of the same file differ")
	}
	empty := string(config.Default().Effective())
	golden(t, "testdata/default.golden", empty)
}

// The listing and the file agree: whatever has a field has a row.
func TestFieldsAreThoseOfTheFile(t *testing.T) {
	var got []string
	for _, f := range config.Fields() {
		if f.Kind != "" && f.Kind != "ringcentral" {
			continue // not the sample's
		}
		got = append(got, strings.NewReplacer("<name>", "ringcentral", "<n>", "0").Replace(f.Path))
		if f.Doc == "" || f.Env == "" {
			t.Errorf("%s has no explanation or no variable", f.Path)
		}
	}
	want := scalars(t, sample(t).Effective())
	slices.Sort(want) // a list of fields begins with what all kinds have
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-file +fields):\n%s", diff)
	}
}

func TestDocument(t *testing.T) {
	golden(t, filepath.Join("..", "..", "deploy", "config.md"), config.Document())
}

func TestSettingsOpenTheProvider(t *testing.T) {
	c := sample(t)
	c.Providers[0].Plain["subscription_life"] = "1h"
	own := &c.Providers[0].Tenants[0]
	own.Secret["verification_tokens.1"] = subscriptions.NewSecret("the-older-hunter2")
	own.Secret["token_exchange.client_secret"] = subscriptions.NewSecret("exchange-hunter2")
	own.Plain = map[string]string{"token_exchange.url": "https://login.example.com/token",
		"token_exchange.client_id": "rescind", "token_exchange.audience": "rc"}
	if err := c.Validate(config.RoleWorker); err != nil {
		t.Fatal(err)
	}
	p, tenant := c.Providers[0], c.Providers[0].Tenants[0]
	home := events.Home{Provider: events.Provider(p.Name), Tenant: events.Tenant(tenant.ID)}
	deps := subscriptions.Deps{HTTP: http.DefaultClient, Vault: struct{ subscriptions.Vault }{},
		Budget: budget.NewLocal(),
		Log:    slog.New(slog.DiscardHandler)}
	settings := p.Settings(tenant)
	if _, err := providers.Open(p.Kind, home, settings, deps); err != nil {
		t.Error(err)
	}
	got := map[string]string{}
	for name, secret := range settings.Secret {
		got[name] = secret.Reveal()
	}
	want := map[string]string{
		"client_secret": "client-hunter2-secret", "jwt": "jwt-hunter2",
		"verification_tokens.0": "verification-hunter2", "verification_tokens.1": "the-older-hunter2",
		"token_exchange.client_secret": "exchange-hunter2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
	plain := map[string]string{
		"base_url": "https://platform.ringcentral.com", "client_id": "change-me", "subscription_life": "1h",
		"token_exchange.url": "https://login.example.com/token", "token_exchange.client_id": "rescind",
		"token_exchange.audience": "rc",
	}
	if diff := cmp.Diff(plain, settings.Plain); diff != "" {
		t.Errorf("plain (-want +got):\n%s", diff)
	}
}

func TestOverrides(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "key")
	write(t, secret, "address-key-from-a-file\n")
	c := sample(t,
		"RESCIND_NATS_URL=nats://a:4222,nats://b:4222", "RESCIND_NATS_REPLICAS=3",
		"RESCIND_REDIS_CLUSTER=true", "RESCIND_WORKER_LIFE=4m",
		"RESCIND_LISTENER_ADDRESS_KEY=file:"+secret,
		"RESCIND_NATS_PASSWORD=env:RESCIND_OTHER", "RESCIND_OTHER=another-password",
		"RESCIND_PROVIDERS_RINGCENTRAL_CLIENT_ID=other-client",
		"RESCIND_PROVIDERS_RINGCENTRAL_ROLE_POLL=90s",
		"RESCIND_PROVIDERS_RINGCENTRAL_TENANTS_0_ID=42",
		"RESCIND_PROVIDERS_RINGCENTRAL_TENANTS_0_TOKEN_EXCHANGE_CLIENT_ID=exchange-client",
		"RESCIND_PROVIDERS_RINGCENTRAL_TENANTS_0_VERIFICATION_TOKENS_0=env:RESCIND_OTHER",
		"RESCIND_WORKER_TOKEN=",
	)
	own := c.Providers[0].Tenants[0]
	got := []any{
		c.NATS.URL, c.NATS.Replicas, c.Redis.Cluster, c.Worker.Life, c.Listener.AddressKey.Reveal(),
		c.NATS.Password.Reveal(), c.Providers[0].Plain["client_id"], c.Providers[0].Plain["role_poll"],
		own.ID, own.Plain["token_exchange.client_id"], own.Secret["verification_tokens.0"].Reveal(),
		c.Worker.Token.Empty(),
	}
	want := []any{
		"nats://a:4222,nats://b:4222", 3, true, 4 * time.Minute, "address-key-from-a-file",
		"another-password", "other-client", "90s", "42", "exchange-client", "another-password", true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDashInAProvidersName(t *testing.T) {
	const text = "providers: {ringcentral-support: {kind: ringcentral, client_id: x}, " +
		"a: {kind: ringcentral, client_id: y}}"
	c, err := config.Parse([]byte(text), "f", []string{"RESCIND_PROVIDERS_RINGCENTRAL_SUPPORT_CLIENT_ID=z"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range c.Providers {
		got = append(got, p.Name, p.Kind, p.Plain["client_id"])
	}
	want := []string{"a", "ringcentral", "y", "ringcentral-support", "ringcentral", "z"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The kind decides which other keys there are, wherever it comes from.
func TestKindFromTheEnvironment(t *testing.T) {
	for _, text := range []string{
		"providers: {a: {client_id: x}}", "providers: {a: {client_id: x, kind: carrier-pigeon}}",
	} {
		c, err := config.Parse([]byte(text), "f", []string{"RESCIND_PROVIDERS_A_KIND=ringcentral"})
		if err != nil {
			t.Fatal(err)
		}
		if p := c.Providers[0]; p.Kind != "ringcentral" || p.Plain["client_id"] != "x" {
			t.Errorf("%s: got %+v", text, p)
		}
	}
}

// A variable that the file reads a secret from is no override, even if it is
// called like one.
func TestSourceMayBeCalledLikeAnOverride(t *testing.T) {
	c, err := config.Parse([]byte("worker: {token: env:RESCIND_WORKER_TOKEN}"), "f",
		[]string{"RESCIND_WORKER_TOKEN=asking-token-asking"})
	if err != nil || c.Worker.Token.Reveal() != "asking-token-asking" {
		t.Errorf("token is empty: %v, error %v", c == nil || c.Worker.Token.Empty(), err)
	}
}

func TestSecretFiles(t *testing.T) {
	for name, tc := range map[string]struct{ content, want string }{
		"no newline":            {"a b", "a b"},
		"one newline":           {"a b\n", "a b"},
		"carriage return":       {"a b\r\n", "a b"},
		"only one is dropped":   {"a\n\n", "a\n"},
		"spaces are the user's": {" a ", " a "},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret")
			write(t, path, tc.content)
			c, err := config.Parse([]byte("redis: {password: \"file:"+path+"\"}"), "f", nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Redis.Password.Reveal(); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestARoleNeedsOnlyItsOwn(t *testing.T) {
	without := slices.DeleteFunc(environ(), func(line string) bool {
		return strings.HasPrefix(line, "REDIS_PASSWORD") || strings.HasPrefix(line, "RESCIND_A")
	})
	c, err := config.Load("testdata/rescind.yml", append(without,
		"RESCIND_WORKER_LIFE=1h", "RESCIND_LISTENER_PUBLIC_URL=ftp://x", "RESCIND_LISTENER_MAX_CONNECTIONS=0"))
	if err != nil {
		t.Fatal(err)
	}
	for role, want := range map[config.Role]string{
		config.RoleListener: "listener.address_key: environment variable RESCIND_ADDRESS_KEY is not set\n" +
			"listener.public_url: must be https:// or http://host:port\n" +
			"listener.max_connections: must be 1 to 1000000; got 0",
		config.RoleWorker: "redis.password: environment variable REDIS_PASSWORD is not set\n" +
			"worker.token: environment variable RESCIND_ASK_TOKEN is not set\n" +
			"worker.life: life 1h0m0s: must be between 10s and the ceiling of 5m0s",
	} {
		if got := text(c.Validate(role)); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", role, got, want)
		}
	}
}

func TestSecretsNeverPrint(t *testing.T) {
	c := sample(t)
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	c.Log.Logger(&logged).Info("config", "all", c, "worker", c.Worker)
	vault := c.NATS.VaultKey.Reveal()
	for how, text := range map[string]string{
		"%v": fmt.Sprintf("%v", c), "%+v": fmt.Sprintf("%+v", c), "%#v": fmt.Sprintf("%#v", *c),
		"effective": string(c.Effective()),
		"JSON":      string(asJSON), "slog": logged.String(),
	} {
		if strings.Contains(text, leak) || strings.Contains(text, vault) {
			t.Errorf("%s shows a secret: %s", how, text)
		}
		if !strings.Contains(text, "[redacted]") {
			t.Errorf("%s does not show that there is a secret: %s", how, text)
		}
	}
}

func TestLogger(t *testing.T) {
	var b strings.Builder
	config.Log{Level: "warn", Format: "text"}.Logger(&b).Info("too low")
	config.Log{Level: "warn", Format: "text"}.Logger(&b).Warn("text")
	config.Log{Level: "debug", Format: "json"}.Logger(&b).Debug("json")
	got := b.String()
	if strings.Contains(got, "too low") || !strings.Contains(got, "msg=text") ||
		!strings.Contains(got, `"msg":"json"`) {
		t.Errorf("logged %s", got)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
