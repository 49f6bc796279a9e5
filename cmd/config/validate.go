package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/providers"
)

const minKey = 16 // characters of a key or token

// problems are what is wrong, at most one for each path: the path and the
// remedy.
type problems struct {
	paths map[string]bool
	errs  []error
}

func (p *problems) add(path, format string, args ...any) {
	if !p.paths[path] {
		p.paths[path] = true
		p.errs = append(p.errs, fmt.Errorf("%s: %w", path, fmt.Errorf(format, args...)))
	}
}

// Validate says all that keeps a process with these roles from running. Each
// joined error names the field and the remedy.
func (c *Config) Validate(roles ...Role) error {
	p := &problems{paths: map[string]bool{}}
	c.checkGiven(roles, p)
	c.NATS.check(p)
	if slices.Contains(roles, RoleWorker) {
		c.Redis.check(p)
		c.Worker.check(p)
	}
	if slices.Contains(roles, RoleListener) {
		c.Listener.check(p)
	}
	checkSealingKey(c.NATS, p)
	checkOneOf("log.level", c.Log.Level, []string{"debug", "info", "warn", "error"}, p)
	checkOneOf("log.format", c.Log.Format, []string{"json", "text"}, p)
	if len(c.Providers) == 0 {
		p.add("providers", "give at least one")
	}
	for _, one := range c.Providers {
		one.check("providers."+one.Name, p)
	}
	return errors.Join(p.errs...)
}

// checkGiven finds secrets that could not be read, and what must be given.
func (c *Config) checkGiven(roles []Role, p *problems) {
	fields := map[string]Field{}
	for _, f := range Fields() {
		fields[f.pattern] = f
	}
	visit(reflect.ValueOf(c).Elem(), place{}, func(at place, v reflect.Value) {
		f := fields[at.pattern]
		if f.For != "" && !slices.Contains(roles, f.For) {
			return
		}
		_, secret := v.Interface().(subscriptions.Secret)
		empty := v.IsZero() && (secret || v.Kind() == reflect.String)
		switch why := c.unresolved[at.path]; {
		case why != "":
			p.add(at.path, "%s", why)
		case empty && f.Must && secret:
			p.add(at.path, "must be given, as env:NAME or file:/path")
		case empty && f.Must:
			p.add(at.path, "must be given")
		}
	})
}

func (n NATS) check(p *problems) {
	if n.URL != "" {
		for one := range strings.SplitSeq(n.URL, ",") {
			checkURL("nats.url", strings.TrimSpace(one), []string{"nats", "tls"}, p)
		}
	}
	hasPassword := !n.Password.Empty()
	if n.Credentials != "" && (n.User != "" || hasPassword) {
		p.add("nats.credentials", "excludes nats.user and nats.password; give one or the other")
	}
	if n.User == "" && hasPassword {
		p.add("nats.user", "must be given with nats.password")
	}
	checkRange("nats.replicas", n.Replicas, 1, 5, p)
}

func (r Redis) check(p *problems) {
	if r.URL != "" {
		r.checkURL(p)
	}
	checkRange("redis.replicas", r.Replicas, 0, 5, p)
	if r.ReplicaWait < 10*time.Millisecond || r.ReplicaWait > 3*time.Second {
		p.add("redis.replica_wait", "must be 10ms to 3s; got %s", r.ReplicaWait)
	}
	if _, err := cache.NewKeys(r.Prefix); err != nil {
		p.add("redis.prefix", "%w", err)
	}
}

func (r Redis) checkURL(p *problems) {
	_, ok, err := r.Sentinels()
	switch {
	case !ok:
		if !r.SentinelPassword.Empty() {
			p.add("redis.sentinel_password", "needs a redis.url that begins with redis-sentinel://")
		}
		u := checkURL("redis.url", r.URL, []string{"redis", "rediss"}, p)
		r.checkDatabase(u, p)
	case err != nil:
		p.add("redis.url", "%w", err)
	case r.Cluster:
		p.add("redis.cluster", "excludes Sentinel: a cluster fails over by itself")
	}
}

func (r Redis) checkDatabase(u *url.URL, p *problems) {
	if u == nil {
		return
	}
	text := strings.TrimPrefix(u.Path, "/")
	n, err := strconv.Atoi(text)
	switch {
	case text == "":
	case err != nil || n < 0 || strings.HasPrefix(text, "+"):
		p.add("redis.url", "its path must be the number of a database, such as /0")
	case r.Cluster && n != 0:
		p.add("redis.url", "a cluster has only database 0; got %d", n)
	}
}

func (l Listener) check(p *problems) {
	checkAddrs("listener", l.Addr, l.AdminAddr, p)
	if l.PublicURL != "" {
		checkWeb("listener.public_url", l.PublicURL, p)
	}
	checkKey("listener.address_key", l.AddressKey, p)
	checkRange("listener.max_connections", l.MaxConnections, 1, 1_000_000, p)
	checkKey("listener.admin_token", l.AdminToken, p)
	if l.RotateEvery != 0 && (l.RotateEvery < time.Hour || l.RotateEvery > 365*24*time.Hour) {
		p.add("listener.rotate_every", "must be 1h to 8760h, or 0s; got %s", l.RotateEvery)
	}
}

func (w Worker) check(p *problems) {
	checkAddrs("worker", w.Addr, w.AdminAddr, p)
	checkKey("worker.token", w.Token, p)
	host, _, err := net.SplitHostPort(w.Addr)
	if w.Token.Empty() && err == nil && !loopback(host) {
		p.add("worker.token", "must be given unless worker.addr is loopback; got %s", w.Addr)
	}
	if err := cache.CheckLife(w.Life); err != nil {
		p.add("worker.life", "%w", err)
	} else if w.MaxLife < w.Life || w.MaxLife > cache.Ceiling {
		p.add("worker.max_life", "must be worker.life (%s) to %s; got %s", w.Life, cache.Ceiling, w.MaxLife)
	}
	checkRange("worker.fetchers", w.Fetchers, 1, 1024, p)
}

func checkSealingKey(n NATS, p *problems) {
	if _, err := n.SealingKey(); !n.VaultKey.Empty() && err != nil {
		p.add("nats.vault_key", "must be 32 bytes in base64, such as from: openssl rand -base64 32")
	}
}

func (r Provider) check(path string, p *problems) {
	checkOneOf(path+".kind", r.Kind, kinds(), p)
	if !providerName.MatchString(r.Name) {
		p.add(path, "a provider's name must be 1 to 32 of a-z 0-9 -")
	}
	if len(r.Tenants) == 0 {
		p.add(path+".tenants", "give at least one")
	}
	seen := map[string]bool{}
	for i, t := range r.Tenants {
		at := place{}.key(path).key("tenants").item(strconv.Itoa(i))
		if seen[t.ID] {
			p.add(at.path+".id", "is given twice in this provider; got %q", t.ID)
		}
		seen[t.ID] = true
		if err := events.CheckID(t.ID); t.ID != "" && err != nil {
			p.add(at.path+".id", "%w", err)
		}
		if slices.Contains(kinds(), r.Kind) && providerName.MatchString(r.Name) {
			r.checkSettings(t, at, p)
		}
	}
}

// What stands in where settings are only judged.
type (
	noVault  struct{ subscriptions.Vault }
	noBudget struct{ subscriptions.Budget }
)

// checkSettings has the provider judge them; no call is made.
func (r Provider) checkSettings(t Tenant, at place, p *problems) {
	h := events.Home{Provider: events.Provider(r.Name), Tenant: events.Tenant(t.ID)}
	_, err := providers.Open(r.Kind, h, r.Settings(t), subscriptions.Deps{
		HTTP: &http.Client{}, Vault: noVault{}, Budget: noBudget{}, Log: slog.New(slog.DiscardHandler),
	})
	for _, one := range apart(err) {
		path := at.path
		named, ok := one.(*subscriptions.SettingError)
		if ok {
			one, path = named.Err, r.pathOf(t, named.Name, at)
		}
		p.add(path, "%w", one)
	}
}

// pathOf is where a setting, or what is called like one, stands.
func (r Provider) pathOf(t Tenant, name string, at place) string {
	if path, ok := r.settings(place{}.key("providers").entry(r.Name)).path(name); ok {
		return path
	}
	if path, ok := t.settings(r.Kind, at).path(name); ok {
		return path
	}
	return at.key(name).path
}

// apart takes joined errors apart, and those that name a setting out of what they
// are wrapped in.
func apart(err error) []error {
	switch e := err.(type) {
	case nil:
		return nil
	case *subscriptions.SettingError:
		return []error{e}
	case interface{ Unwrap() []error }:
		var all []error
		for _, one := range e.Unwrap() {
			all = append(all, apart(one)...)
		}
		return all
	}
	if named := (*subscriptions.SettingError)(nil); errors.As(err, &named) {
		return apart(errors.Unwrap(err))
	}
	return []error{err}
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
