package config

import (
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
)

// Role is a service that reads the configuration.
type Role string

// The roles.
const (
	RoleListener Role = "listener"
	RoleWorker   Role = "worker"
)

// Config is the whole file. What the fields mean, their defaults and who uses
// them stands in [Fields].
type Config struct {
	NATS      NATS       `yaml:"nats"`
	Redis     Redis      `yaml:"redis"`
	Listener  Listener   `yaml:"listener"`
	Worker    Worker     `yaml:"worker"`
	Log       Log        `yaml:"log"`
	Providers []Provider `yaml:"providers"` // sorted by name

	origins    map[string]string // path of a secret: where it is from
	unresolved map[string]string // path of a secret: why it could not be read
}

// NATS says how to reach the JetStream that keeps the changes.
type NATS struct {
	URL         string               `yaml:"url"`
	Credentials string               `yaml:"credentials"`
	User        string               `yaml:"user"`
	Password    subscriptions.Secret `yaml:"password"`
	TLSCA       string               `yaml:"tls_ca"`
	Replicas    int                  `yaml:"replicas"`
	// VaultKey seals the tokens that all services share.
	VaultKey subscriptions.Secret `yaml:"vault_key"`
}

// Redis says how to reach the Redis that holds the entries.
type Redis struct {
	URL      string               `yaml:"url"`
	Password subscriptions.Secret `yaml:"password"`
	// SentinelPassword is that of the Sentinels, where URL names some.
	SentinelPassword subscriptions.Secret `yaml:"sentinel_password"`
	Cluster          bool                 `yaml:"cluster"`
	// Replicas must have a change before it is acknowledged; ReplicaWait is how
	// long to wait for them.
	Replicas    int           `yaml:"replicas"`
	ReplicaWait time.Duration `yaml:"replica_wait"`
	Prefix      string        `yaml:"prefix"`
	StandIn     bool          `yaml:"stand_in"`
}

// Listener says where deliveries arrive.
type Listener struct {
	Addr           string               `yaml:"addr"`
	AdminAddr      string               `yaml:"admin_addr"`
	PublicURL      string               `yaml:"public_url"`
	AddressKey     subscriptions.Secret `yaml:"address_key"`
	MaxConnections int                  `yaml:"max_connections"`
	// AdminToken admits to orders about subscriptions; RotateEvery is the age at which
	// a subscription's secret is changed, zero: never.
	AdminToken  subscriptions.Secret `yaml:"admin_token"`
	RotateEvery time.Duration        `yaml:"rotate_every"`
}

// Worker says how entries are kept and asked for. An entry lives for Life, or
// up to MaxLife where the vendor's limits do not suffice for shorter lives.
type Worker struct {
	Addr      string               `yaml:"addr"`
	AdminAddr string               `yaml:"admin_addr"`
	Token     subscriptions.Secret `yaml:"token"`
	Life      time.Duration        `yaml:"life"`
	MaxLife   time.Duration        `yaml:"max_life"`
	Fetchers  int                  `yaml:"fetchers"`
}

// Log says what is logged.
type Log struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// Provider is one OAuth client at a vendor. What it can be told depends on its
// kind: the settings that the kind's package lists, by their names there.
type Provider struct {
	Name string // its key in the file
	Kind string
	// Plain and Secret are the settings of the provider. One that is absent or
	// empty has its default; items of a list are name.0, name.1 and so on.
	Plain   map[string]string
	Secret  map[string]subscriptions.Secret
	Tenants []Tenant
}

// Tenant is one customer's organisation at a provider, with the settings that
// are its own.
type Tenant struct {
	ID     string
	Plain  map[string]string
	Secret map[string]subscriptions.Secret
}

// Default is a configuration in which every field has its default.
func Default() *Config {
	c := &Config{}
	setDefaults(reflect.ValueOf(c).Elem(), place{})
	return c
}

// SealingKey is the vault's key in bytes. It cannot fail after
// [Config.Validate].
func (n NATS) SealingKey() (key [32]byte, err error) {
	b, err := base64.StdEncoding.DecodeString(n.VaultKey.Reveal())
	if err != nil || len(b) != len(key) {
		// The decoder's error is not wrapped: it tells of the secret.
		return key, fmt.Errorf("vault key: must be %d bytes in base64, with padding", len(key))
	}
	return [32]byte(b), nil
}

// Logger writes to w as configured; an unknown level counts as info.
func (l Log) Logger(w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{}
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err == nil {
		o.Level = level
	}
	if l.Format == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}
