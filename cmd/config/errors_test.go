package config_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/providers"
)

// KINDS are the kinds of provider that there are.
var parseErrors = map[string]struct {
	text string
	env  []string
	want string
}{
	"unknown section": {"nats: {}\nnatz: {}", nil,
		"f.yml:2: natz: is unknown; there are nats, redis, listener, worker, log, providers"},
	"unknown key": {"log:\n  level: info\n  colour: red", nil,
		"f.yml:3: log.colour: is unknown; there are level, format"},
	"unknown key of a tenant": {
		"providers:\n  rc:\n    kind: ringcentral\n    tenants:\n      - id: 1\n        idd: 2", nil,
		"f.yml:6: providers.rc.tenants[0].idd: is unknown for kind ringcentral; " +
			"there are id, jwt, verification_tokens, token_exchange"},
	"unknown key of a provider": {"providers:\n  rc: {kind: ringcentral, signature_key: env:PATH}", nil,
		"f.yml:2: providers.rc.signature_key: is unknown for kind ringcentral; " +
			"there are kind, tenants, base_url, client_id, client_secret, subscription_life, role_poll"},
	"setting of a tenant given to the provider": {"providers:\n  rc: {kind: ringcentral, jwt: env:PATH}", nil,
		"f.yml:2: providers.rc.jwt: is unknown for kind ringcentral; " +
			"there are kind, tenants, base_url, client_id, client_secret, subscription_life, role_poll"},
	"unknown key of a group": {
		"providers: {rc: {kind: ringcentral, tenants: [{token_exchange: {uri: x}}]}}", nil,
		"f.yml:1: providers.rc.tenants[0].token_exchange.uri: is unknown for kind ringcentral; " +
			"there are url, client_id, client_secret, audience"},
	"a group with a dot": {
		"providers: {rc: {kind: ringcentral, tenants: [{id: 1, token_exchange.url: https://e}]}}", nil,
		"f.yml:1: providers.rc.tenants[0].token_exchange.url: is unknown for kind ringcentral; " +
			"there are id, jwt, verification_tokens, token_exchange"},
	"text for a group": {
		"providers: {rc: {kind: ringcentral, tenants: [{token_exchange: hunter2}]}}", nil,
		"f.yml:1: providers.rc.tenants[0].token_exchange: must be a mapping, with a key: value on each line"},
	"key of a group given twice": {
		"providers: {rc: {kind: ringcentral, tenants: [{token_exchange: {url: a, url: b}}]}}", nil,
		"f.yml:1: providers.rc.tenants[0].token_exchange.url: is given twice, first on line 1; remove one"},
	"list that is too long": {"providers: {rc: {kind: ringcentral, tenants: " +
		"[{verification_tokens: [env:A, env:B, env:C]}]}}", nil,
		"f.yml:1: providers.rc.tenants[0].verification_tokens: must be a list of at most 2; got 3"},
	"text for a list": {
		"providers: {rc: {kind: ringcentral, tenants: [{verification_tokens: hunter2}]}}", nil,
		"f.yml:1: providers.rc.tenants[0].verification_tokens: must be a list"},
	"no kind": {"providers:\n  rc:\n    client_id: x", nil,
		"f.yml:3: providers.rc.kind: must be one of KINDS; the other keys depend on it"},
	"a kind that is none": {"providers:\n  rc:\n    client_id: x\n    kind: hunter2", nil,
		"f.yml:4: providers.rc.kind: must be one of KINDS; the other keys depend on it"},
	"a kind that is a list": {"providers: {rc: {kind: [ringcentral]}}", nil,
		"f.yml:1: providers.rc.kind: must be a single value\n" +
			"f.yml:1: providers.rc.kind: must be one of KINDS; the other keys depend on it"},
	"unknown key with strange signs": {"log: {\"a\\n\\u202e\": 1}", nil,
		`f.yml:1: log."a\n\u202e": is unknown; there are level, format`},
	"key given twice": {"log:\n  level: info\n  level: debug", nil,
		"f.yml:3: log.level: is given twice, first on line 2; remove one"},
	"provider given twice": {"providers:\n  rc: ~\n  rc: ~", nil,
		"f.yml:3: providers.rc: is given twice, first on line 2; remove one"},
	"provider's name": {"providers: {RC_1: {}}", nil,
		"f.yml:1: providers.RC_1: a provider's name must be 1 to 32 of a-z 0-9 -"},
	"merge key": {"log: {<<: {level: info}}",
		nil, "f.yml:1: log.<<: is unknown; there are level, format"},
	"alias": {"log: &a {level: info}\nnats: *a", nil,
		"f.yml:2: nats: aliases are not supported; write the value"},
	"key that is a list": {"log: {[a]: 1}", nil, "f.yml:1: log: a key must be a plain word"},
	"list for a section": {"log: [a]",
		nil, "f.yml:1: log: must be a mapping, with a key: value on each line"},
	"text for the file": {"hunter2",
		nil, "f.yml:1: must be a mapping, with a key: value on each line"},
	"mapping for a list": {"providers: {rc: {kind: ringcentral, tenants: {a: hunter2}}}", nil,
		"f.yml:1: providers.rc.tenants: must be a list"},
	"mapping for a value": {"log: {level: {a: hunter2}}",
		nil, "f.yml:1: log.level: must be a single value"},
	"not a number": {"nats: {replicas: hunter2}",
		nil, "f.yml:1: nats.replicas: must be a whole number"},
	"not a duration": {"worker: {life: hunter2}", nil,
		"f.yml:1: worker.life: must be a duration, such as 60s"},
	"number for a duration": {"worker: {life: 60}", nil,
		"f.yml:1: worker.life: must be a duration, such as 60s"},
	"not a truth": {"redis: {cluster: hunter2}", nil, "f.yml:1: redis.cluster: must be true or false"},
	"literal secret": {"redis:\n  password: hunter2", nil,
		"f.yml:2: redis.password: is a secret: give env:NAME or file:/path, not the secret itself"},
	"literal in a list": {
		"providers: {rc: {kind: ringcentral, tenants: [{verification_tokens: [hunter2]}]}}", nil,
		"f.yml:1: providers.rc.tenants[0].verification_tokens[0]: " +
			"is a secret: give env:NAME or file:/path, not the secret itself"},
	"relative file": {"redis: {password: \"file:hunter2\"}", nil,
		"f.yml:1: redis.password: is a secret: give env:NAME or file:/path, not the secret itself"},
	"variable that cannot be": {"redis: {password: \"env:hunter2 !\"}", nil,
		"f.yml:1: redis.password: is a secret: give env:NAME or file:/path, not the secret itself"},
	"password in a URL": {"redis: {url: \"redis://u:hunter2@r:6379\"}", nil,
		"f.yml:1: redis.url: must not hold a password or token; there is a field for it"},
	"token in the URL of nats": {"nats: {url: \"nats://a:4222,nats://hunter2@b:4222\"}", nil,
		"f.yml:1: nats.url: must not hold a password or token; there is a field for it"},
	"secret that looks like an alias": {"redis:\n  password: *hunter2", nil,
		"f.yml: yaml: an alias is used or a tag does not fit; quote values that begin with * or !"},
	"secret that looks like a tag": {"redis:\n  password: !hunter2", nil,
		"f.yml:2: redis.password: tags are not supported; quote a value that begins with !"},
	"two documents": {"log: {}\n---\nlog: {}",
		nil, "f.yml:2: a second document begins here; give one"},
	"no YAML": {"log:\n\tlevel: x",
		nil, "f.yml: yaml: line 2: found character that cannot start any token"},
	"several at once": {"a: 1\nlog: {b: 2}\nnats: {replicas: x}", []string{"RESCIND_X=1"},
		"f.yml:1: a: is unknown; there are nats, redis, listener, worker, log, providers\n" +
			"f.yml:2: log.b: is unknown; there are level, format\n" +
			"f.yml:3: nats.replicas: must be a whole number\n" +
			"environment: RESCIND_X: overrides no field and no secret is read from it; correct or unset it"},
	"variable that is unknown": {"", []string{"RESCIND_NATZ_URL=hunter2"},
		"environment: RESCIND_NATZ_URL: overrides no field and no secret is read from it; " +
			"correct or unset it"},
	"variable of a provider that is not there": {"", []string{"RESCIND_PROVIDERS_RC_KIND=hunter2"},
		"environment: RESCIND_PROVIDERS_RC_KIND: overrides no field and no secret is read from it; " +
			"correct or unset it"},
	"variable of the wrong type": {"", []string{"RESCIND_NATS_REPLICAS=hunter2"},
		"environment: RESCIND_NATS_REPLICAS: nats.replicas: must be a whole number"},
	"variable with a literal secret": {"", []string{"RESCIND_REDIS_PASSWORD=hunter2"},
		"environment: RESCIND_REDIS_PASSWORD: redis.password: " +
			"is a secret: give env:NAME or file:/path, not the secret itself"},
	"one variable for two fields": {
		"providers: {x: {kind: ringcentral, tenants: [{id: 1}]}, " +
			"x-tenants-0-token-exchange: {kind: ringcentral}}", nil,
		"f.yml: providers.x.tenants[0].token_exchange.client_id and " +
			"providers.x-tenants-0-token-exchange.client_id are overridden by the same variable " +
			"RESCIND_PROVIDERS_X_TENANTS_0_TOKEN_EXCHANGE_CLIENT_ID; rename one\n" +
			"f.yml: providers.x.tenants[0].token_exchange.client_secret and " +
			"providers.x-tenants-0-token-exchange.client_secret are overridden by the same variable " +
			"RESCIND_PROVIDERS_X_TENANTS_0_TOKEN_EXCHANGE_CLIENT_SECRET; rename one"},
}

func TestParseErrors(t *testing.T) {
	var kinds []string
	for _, p := range providers.All() {
		kinds = append(kinds, p.Kind)
	}
	for name, tc := range parseErrors {
		t.Run(name, func(t *testing.T) {
			tc.want = strings.ReplaceAll(tc.want, "KINDS", strings.Join(kinds, ", "))
			_, err := config.Parse([]byte(tc.text), "f.yml", tc.env)
			if got := text(err); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			if strings.Contains(text(err), leak) {
				t.Error("it shows the secret")
			}
		})
	}
}

const (
	tenant    = "providers.ringcentral.tenants[0]"
	tenantEnv = "RESCIND_PROVIDERS_RINGCENTRAL_TENANTS_0_"
)

// DIR is a folder of the test.
var validateErrors = map[string]struct{ env, want string }{
	"nats scheme":   {"RESCIND_NATS_URL=http://n:1", "nats.url: must be nats:// or tls://host:port"},
	"nats second":   {"RESCIND_NATS_URL=nats://n:1,m", "nats.url: must be nats:// or tls://host:port"},
	"nats empty":    {"RESCIND_NATS_URL=", "nats.url: must be given"},
	"nats replicas": {"RESCIND_NATS_REPLICAS=6", "nats.replicas: must be 1 to 5; got 6"},
	"nats two ways": {"RESCIND_NATS_CREDENTIALS=/c",
		"nats.credentials: excludes nats.user and nats.password; give one or the other"},
	"nats password alone": {"RESCIND_NATS_USER=", "nats.user: must be given with nats.password"},
	"redis scheme": {"RESCIND_REDIS_URL=http://r",
		"redis.url: must be redis:// or rediss://host:port"},
	"redis unparsable": {"RESCIND_REDIS_URL=redis://%zz",
		"redis.url: must be redis:// or rediss://host:port"},
	"redis query": {"RESCIND_REDIS_URL=redis://r?a=hunter2",
		"redis.url: must not have a query or fragment"},
	"redis database": {"RESCIND_REDIS_URL=redis://r/hunter2",
		"redis.url: its path must be the number of a database, such as /0"},
	"redis prefix": {"RESCIND_REDIS_PREFIX=a:b",
		`redis.prefix: key prefix "a:b": 1 to 32 of A-Z a-z 0-9 _ - are allowed`},
	"plain public url": {"RESCIND_LISTENER_PUBLIC_URL=http://hooks.example.com",
		"listener.public_url: must be https unless its host is loopback; got http://hooks.example.com"},
	"public url without host": {"RESCIND_LISTENER_PUBLIC_URL=hooks.example.com",
		"listener.public_url: must be https:// or http://host:port"},
	"user in the public url": {"RESCIND_LISTENER_PUBLIC_URL=https://hunter2@h",
		"listener.public_url: must not hold a user"},
	"listener address": {"RESCIND_LISTENER_ADDR=8080",
		`listener.addr: must be host:port; got "8080"`},
	"port too high": {"RESCIND_LISTENER_ADDR=:65536",
		`listener.addr: must be host:port; got ":65536"`},
	"same address twice": {"RESCIND_LISTENER_ADDR=0.0.0.0:9080",
		"listener.admin_addr: must differ from listener.addr; got 0.0.0.0:9080 for both"},
	"no connections": {"RESCIND_LISTENER_MAX_CONNECTIONS=0",
		"listener.max_connections: must be 1 to 1000000; got 0"},
	"short address key": {"RESCIND_LISTENER_ADDRESS_KEY=env:PATH",
		"listener.address_key: must have at least 16 characters"},
	"missing address key": {"RESCIND_LISTENER_ADDRESS_KEY=",
		"listener.address_key: must be given, as env:NAME or file:/path"},
	"unset address key": {"RESCIND_LISTENER_ADDRESS_KEY=env:NOWHERE",
		"listener.address_key: environment variable NOWHERE is not set"},
	"no such file": {"RESCIND_LISTENER_ADDRESS_KEY=file:DIR/nowhere",
		"listener.address_key: file DIR/nowhere: no such file or directory"},
	"empty file": {"RESCIND_LISTENER_ADDRESS_KEY=file:DIR/empty",
		"listener.address_key: file DIR/empty is empty"},
	"large file": {"RESCIND_LISTENER_ADDRESS_KEY=file:DIR/large",
		"listener.address_key: file DIR/large: is larger than 65536 bytes"},
	"device": {"RESCIND_LISTENER_ADDRESS_KEY=file:/dev/zero",
		"listener.address_key: file /dev/zero: is no regular file"},
	"open worker without a token": {"RESCIND_WORKER_TOKEN=",
		"worker.token: must be given unless worker.addr is loopback; got 0.0.0.0:8081"},
	"short token": {"RESCIND_WORKER_TOKEN=env:PATH",
		"worker.token: must have at least 16 characters"},
	"life too long": {"RESCIND_WORKER_LIFE=301s",
		"worker.life: life 5m1s: must be between 10s and the ceiling of 5m0s"},
	"life too short": {"RESCIND_WORKER_LIFE=9s",
		"worker.life: life 9s: must be between 10s and the ceiling of 5m0s"},
	"longest life over the ceiling": {"RESCIND_WORKER_MAX_LIFE=301s",
		"worker.max_life: must be worker.life (1m0s) to 5m0s; got 5m1s"},
	"longest life below the usual": {"RESCIND_WORKER_MAX_LIFE=59s",
		"worker.max_life: must be worker.life (1m0s) to 5m0s; got 59s"},
	"no fetchers": {"RESCIND_WORKER_FETCHERS=0", "worker.fetchers: must be 1 to 1024; got 0"},
	"vault key of the wrong length": {"RESCIND_NATS_VAULT_KEY=env:RC_JWT",
		"nats.vault_key: must be 32 bytes in base64, such as from: openssl rand -base64 32"},
	"log level": {"RESCIND_LOG_LEVEL=loud",
		`log.level: must be one of debug, info, warn, error; got "loud"`},
	"log format": {"RESCIND_LOG_FORMAT=xml", `log.format: must be one of json, text; got "xml"`},
	"base url": {"RESCIND_PROVIDERS_RINGCENTRAL_BASE_URL=http://example.com",
		"providers.ringcentral.base_url: must be https unless its host is loopback"},
	"client id": {"RESCIND_PROVIDERS_RINGCENTRAL_CLIENT_ID=",
		"providers.ringcentral.client_id: must be given"},
	"subscription life": {"RESCIND_PROVIDERS_RINGCENTRAL_SUBSCRIPTION_LIFE=-1s",
		"providers.ringcentral.subscription_life: must be 2m0s to 87600h0m0s; got -1s"},
	"life that is no duration": {"RESCIND_PROVIDERS_RINGCENTRAL_SUBSCRIPTION_LIFE=60",
		"providers.ringcentral.subscription_life: must be a duration, such as 60s"},
	"roles too often": {"RESCIND_PROVIDERS_RINGCENTRAL_ROLE_POLL=9s",
		"providers.ringcentral.role_poll: must be 10s to 1h0m0s; got 9s"},
	"roles too seldom": {"RESCIND_PROVIDERS_RINGCENTRAL_ROLE_POLL=61m",
		"providers.ringcentral.role_poll: must be 10s to 1h0m0s; got 1h1m0s"},
	"tenant": {tenantEnv + "ID=", tenant + ".id: must be given"},
	"tenant's id": {tenantEnv + "ID=" + strings.Repeat("1",
		257), tenant + ".id: unusable id: 257 bytes, the limit is 256"},
	"jwt": {tenantEnv + "JWT=",
		tenant + ".jwt: must be given, as env:NAME or file:/path"},
	"verification": {tenantEnv + "VERIFICATION_TOKENS_0=env:PATH",
		tenant + ".verification_tokens[0]: must be 16 to 256 printable characters without spaces"},
	"exchange url": {tenantEnv + "TOKEN_EXCHANGE_AUDIENCE=a",
		tenant + ".token_exchange.url: must be given with the other settings of token_exchange"},
	"exchange complete": {tenantEnv + "TOKEN_EXCHANGE_URL=https://e",
		tenant + ".token_exchange.client_id: must be given\n" +
			tenant + ".token_exchange.client_secret: must be given"},
	"tenant's id of another vendor": {tenantEnv + "ID=acme",
		tenant + `.id: must be the numeric id of the account; got "acme"`},
}

// Each case changes the valid sample by overrides.
func TestValidateErrors(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "empty"), "\n")
	write(t, filepath.Join(dir, "large"), strings.Repeat(leak, 10_000))
	for name, tc := range validateErrors {
		env, want := strings.ReplaceAll(tc.env, "DIR", dir), strings.ReplaceAll(tc.want, "DIR", dir)
		t.Run(name, func(t *testing.T) {
			err := sample(t, env).Validate(config.RoleListener, config.RoleWorker)
			if got := text(err); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if strings.Contains(text(err), leak) {
				t.Error("it shows a secret")
			}
		})
	}
}

func TestValidateOfTheWhole(t *testing.T) {
	c := sample(t)
	c.Redis.URL, c.Redis.Cluster = "redis://r/1", true
	c.Providers[0].Tenants = append(c.Providers[0].Tenants, c.Providers[0].Tenants[0], config.Tenant{ID: "2"})
	c.Providers = append(c.Providers, config.Provider{Name: "A"},
		config.Provider{Name: "odd", Kind: "ringcentral", Plain: map[string]string{"client_id": "c", "hue": "x"},
			Secret:  map[string]subscriptions.Secret{"client_secret": subscriptions.NewSecret(leak)},
			Tenants: []config.Tenant{{ID: "1"}}})
	want := "providers.ringcentral.tenants[2].jwt: must be given, as env:NAME or file:/path\n" +
		"providers.A.kind: must be given\n" +
		"providers.odd.tenants[0].jwt: must be given, as env:NAME or file:/path\n" +
		"redis.url: a cluster has only database 0; got 1\n" +
		"providers.ringcentral.tenants[1].id: is given twice in this provider; got \"37439510\"\n" +
		"providers.A: a provider's name must be 1 to 32 of a-z 0-9 -\n" +
		"providers.A.tenants: give at least one\n" +
		"providers.odd.tenants[0]: ringcentral: setting \"hue\" is unknown, " +
		"there are base_url, client_id, subscription_life, role_poll, " +
		"token_exchange.url, token_exchange.client_id, token_exchange.audience"
	if got := text(c.Validate(config.RoleWorker)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yml")
	write(t, large, strings.Repeat("#", 1<<20+1))
	for name, tc := range map[string]struct{ path, want string }{
		"missing": {filepath.Join(dir,
			"none"), "read configuration: stat " + dir + "/none: no such file or directory"},
		"a folder":  {dir, "read configuration: " + dir + ": is no regular file"},
		"too large": {large, "read configuration: " + large + ": is larger than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := config.Load(tc.path, nil); text(err) != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
