package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/providers"
)

const envPrefix = "RESCIND_"

// Field is one scalar of the configuration.
type Field struct {
	// Path is where it stands in the file, Env the variable that overrides it;
	// <name> is a provider's, <n> counts from 0.
	Path, Env string
	Default   string
	// For is the only role that uses it; empty means both.
	For Role
	// Must says that it may not be empty for a role that uses it.
	Must bool
	// Kind is the only kind of provider that has it; empty means all, and what
	// belongs to no provider.
	Kind string
	Doc  string

	pattern string
}

// Fields lists every scalar: those that all have in the order of the file, then
// the settings of each kind of provider.
func Fields() []Field {
	fields := append(sections(),
		row("providers.*.kind", "", "", true, "the vendor: "+strings.Join(kinds(), ", ")),
		row("providers.*.tenants.*.id", "", "", true, "of the organisation at the vendor"))
	for i := range fields {
		f := &fields[i]
		at := place{}
		for part := range strings.SplitSeq(f.pattern, ".") {
			switch {
			case part != "*":
				at = at.key(part)
			case at.path == "providers":
				at = at.entry("<name>")
			default:
				at = at.item("<n>")
			}
		}
		f.Path, f.Env = at.path, at.env()
	}
	for _, p := range providers.All() {
		for _, s := range p.Settings {
			fields = append(fields, settingField(p.Kind, s))
		}
	}
	return fields
}

func settingField(kind string, s subscriptions.Setting) Field {
	at, doc := place{}.key("providers").entry("<name>"), s.Doc
	if s.Tenant {
		at = at.key("tenants").item("<n>")
	}
	at = at.setting(kind, s.Name)
	if s.Many > 0 {
		at, doc = at.item("<n>"), fmt.Sprintf("at most %d; %s", s.Many, doc)
	}
	if s.Secret {
		doc = "secret: " + doc
	}
	return Field{Path: at.path, Env: at.env(), Default: s.Default, Must: s.Must, Kind: kind, Doc: doc,
		pattern: at.pattern}
}

func sections() []Field {
	const listener, worker = RoleListener, RoleWorker
	return []Field{
		row("nats.url", "nats://127.0.0.1:4222", "", true, "nats:// or tls://; several with commas between"),
		row("nats.credentials", "", "", false, "path of a .creds file, instead of user and password"),
		row("nats.user", "", "", false, "name to log in with"),
		row("nats.password", "", "", false, "secret: password of the user"),
		row("nats.tls_ca", "", "", false, "path of the authorities (PEM) that sign the server's certificate"),
		row("nats.replicas", "1", "", true, "copies of each stream when it is created, 1 to 5; 3 on a cluster"),
		row("nats.vault_key", "", "", true,
			"secret: seals tokens in JetStream; 32 random bytes in base64, the same for all processes"),

		row("redis.url", "redis://127.0.0.1:6379/0", worker, true,
			"redis:// or rediss://, with user and database, without password; "+
				"under Sentinel redis-sentinel:// (or rediss-) with its addresses, commas between, and #<name of the primary>"),
		row("redis.password", "", worker, false, "secret: password of the user"),
		row("redis.sentinel_password", "", worker, false, "secret: password of the Sentinels"),
		row("redis.cluster", "false", worker, true, "whether it is a Redis Cluster"),
		row("redis.replicas", "0", worker, true,
			"replicas that must have a change before it is acknowledged, 0 to 5; run one more than that"),
		row("redis.replica_wait", "1s", worker, true, "how long to wait for them, 10ms to 3s; then the change comes again"),
		row("redis.prefix", "perm", worker, true, "what every key of the contract begins with"),
		row("redis.stand_in", "false", worker, true,
			"accept a Redis whose policies cannot be asked; for the dev command only"),

		row("listener.addr", "127.0.0.1:8080", listener, true, "host:port for deliveries"),
		row("listener.admin_addr", "127.0.0.1:9080", listener, true, "host:port for health and metrics"),
		row("listener.public_url", "", listener, true,
			"where providers reach the listener; https unless its host is loopback"),
		row("listener.address_key", "", listener, true, "secret: makes the unguessable part of addresses; "+
			"at least 16 characters; a new one changes every address"),
		row("listener.max_connections", "1024", listener, true, "connections at a time, 1 to 1000000"),
		row("listener.admin_token", "", listener, false, "secret: bearer token of those who look after subscriptions "+
			"at admin_addr; at least 16 characters; nobody may if it is empty"),
		row("listener.rotate_every", "720h0m0s", listener, true, "age at which a subscription's secret is changed, "+
			"where it is ours to choose, 1h to 8760h; 0s: only on order"),

		row("worker.addr", "127.0.0.1:8081", worker, true,
			"host:port for questions; loopback if there is no token"),
		row("worker.admin_addr", "127.0.0.1:9081", worker, true, "host:port for health and metrics"),
		row("worker.token", "", worker, false, "secret: bearer token of those who ask; at least 16 characters"),
		row("worker.life", "1m0s", worker, true, "life of an entry, 10s to 5m"),
		row("worker.max_life", "5m0s", worker, true, "life to which entries are stretched while the vendor's "+
			"limits do not suffice for shorter ones, worker.life to 5m; worker.life itself switches that off"),
		row("worker.fetchers", "32", worker, true, "fetches at a time, 1 to 1024"),

		row("log.level", "info", "", true, "debug, info, warn or error"),
		row("log.format", "json", "", true, "json or text"),
	}
}

func row(pattern, value string, only Role, must bool, doc string) Field {
	return Field{pattern: pattern, Default: value, For: only, Must: must, Doc: doc}
}

// table is that of some fields.
func table(fields []Field) string {
	var b strings.Builder
	b.WriteString("| field | default | used by | meaning |\n| --- | --- | --- | --- |\n")
	for _, f := range fields {
		value, by, must := "", "both", ""
		if f.Default != "" {
			value = "`" + f.Default + "`"
		}
		if f.For != "" {
			by = string(f.For)
		}
		if f.Must && f.Default == "" {
			must = "**required**; "
		}
		fmt.Fprintf(&b, "| `%s`<br>`%s` | %s | %s | %s%s |\n", f.Path, f.Env, value, by, must, f.Doc)
	}
	return b.String()
}

// Document is a page with tables of [Fields], for operators.
func Document() string {
	page := "# Configuration\n\n" +
		"Both services read one YAML file. Every field can be overridden by the environment variable below it.\n" +
		"A secret is `env:NAME` or `file:/path`, in the file and in an override; the text itself is refused.\n" +
		"`<name>` is a provider's name in capitals, with `_` for `-`, in a variable; `<n>` counts from 0.\n\n" +
		table(ofKind(""))
	for _, kind := range kinds() {
		page += "\n## Settings of kind `" + kind + "`\n\n" + table(ofKind(kind))
	}
	return page
}

func ofKind(kind string) []Field {
	return slices.DeleteFunc(Fields(), func(f Field) bool { return f.Kind != kind })
}

// place is where in a configuration something stands.
type place struct {
	path    string // providers.x.tenants[0].jwt
	pattern string // providers.*.tenants.*.id; of a setting: ringcentral:jwt
}

func (p place) key(name string) place   { return place{join(p.path, name), join(p.pattern, name)} }
func (p place) entry(name string) place { return place{join(p.path, name), join(p.pattern, "*")} }
func (p place) setting(kind, name string) place {
	return place{join(p.path, name), kind + ":" + name}
}
func (p place) item(n string) place { return place{p.path + "[" + n + "]", join(p.pattern, "*")} }

// env is the variable that overrides it.
func (p place) env() string {
	return envPrefix + strings.NewReplacer(".", "_", "-", "_", "[", "_", "]", "").
		Replace(strings.ToUpper(p.path))
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "." + b
}

// visit calls f for every scalar in v that exists.
func visit(v reflect.Value, at place, f func(place, reflect.Value)) {
	if isScalar(v) {
		f(at, v)
		return
	}
	if list, ok := v.Addr().Interface().(*[]Provider); ok {
		for i := range *list {
			p := &(*list)[i]
			p.visit(at.entry(p.Name), f)
		}
		return
	}
	for i := range v.NumField() {
		if name := keyOf(v.Type().Field(i)); name != "" {
			visit(v.Field(i), at.key(name), f)
		}
	}
}

func isScalar(v reflect.Value) bool {
	isSecret := v.Type() == reflect.TypeFor[subscriptions.Secret]()
	return isSecret || v.Kind() != reflect.Struct && v.Kind() != reflect.Slice
}

// keyOf is a field's key in the file; empty if it has none.
func keyOf(f reflect.StructField) string {
	return strings.TrimPrefix(f.Tag.Get("yaml"), "-")
}

func setDefaults(v reflect.Value, at place) {
	defaults := map[string]string{}
	for _, f := range Fields() {
		defaults[f.pattern] = f.Default
	}
	visit(v, at, func(at place, v reflect.Value) {
		if text := defaults[at.pattern]; text != "" {
			_ = setScalar(v, text) // a test proves that every default is valid
		}
	})
}

// setScalar sets anything but a secret. Its error does not show the text.
func setScalar(v reflect.Value, text string) error {
	b, isBool := map[string]bool{"true": true, "false": false}[text]
	switch {
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Kind() == reflect.Bool && isBool:
		v.SetBool(b)
	case v.Kind() == reflect.Bool:
		return fmt.Errorf("must be true or false")
	case v.Type() == reflect.TypeFor[time.Duration]():
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("must be a duration, such as 60s")
		}
		v.SetInt(int64(d))
	default:
		return setInt(v, text)
	}
	return nil
}
