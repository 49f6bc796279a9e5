package config

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/providers"
)

// Settings are what the provider's package reads, for one tenant.
func (p Provider) Settings(t Tenant) subscriptions.Settings {
	s := subscriptions.Settings{Plain: map[string]string{}, Secret: map[string]subscriptions.Secret{}}
	maps.Copy(s.Plain, p.Plain)
	maps.Copy(s.Plain, t.Plain)
	maps.Copy(s.Secret, p.Secret)
	maps.Copy(s.Secret, t.Secret)
	return s
}

// kinds lists the kinds of provider.
func kinds() []string {
	var names []string
	for _, p := range providers.All() {
		names = append(names, p.Kind)
	}
	return names
}

// settingsOf lists what a kind can be told, by provider or by tenant; nothing if
// there is no such kind.
func settingsOf(kind string, tenant bool) []subscriptions.Setting {
	var list []subscriptions.Setting
	for _, p := range providers.All() {
		for _, s := range p.Settings {
			if p.Kind == kind && s.Tenant == tenant {
				list = append(list, s)
			}
		}
	}
	return list
}

// settings are those of a provider, or of one of its tenants.
type settings struct {
	kind   string
	at     place    // what they stand in
	common []string // the keys beside them, which are no settings
	group  string   // if not empty, of the names only those that begin with it
	all    []subscriptions.Setting
	plain  *map[string]string
	secret *map[string]subscriptions.Secret
}

func (p *Provider) settings(at place) settings {
	return settings{kind: p.Kind, at: at, common: []string{"kind", "tenants"},
		all: settingsOf(p.Kind, false), plain: &p.Plain, secret: &p.Secret}
}

func (t *Tenant) settings(kind string, at place) settings {
	return settings{kind: kind, at: at, common: []string{"id"},
		all: settingsOf(kind, true), plain: &t.Plain, secret: &t.Secret}
}

// value is one setting, or one item of a list.
type value struct {
	subscriptions.Setting
	name string // in subscriptions.Settings
	at   place
}

func (s settings) place(one subscriptions.Setting) place { return s.at.setting(s.kind, one.Name) }

// item is the n-th of a list.
func (s settings) item(one subscriptions.Setting, n int) value {
	return value{one, subscriptions.Item(one.Name, n), s.place(one).item(strconv.Itoa(n))}
}

// values are one setting's: of a list those that are given.
func (s settings) values(one subscriptions.Setting) []value {
	if one.Many == 0 {
		return []value{{one, one.Name, s.place(one)}}
	}
	given := subscriptions.Settings{Plain: *s.plain, Secret: *s.secret}
	var list []value
	for i := range max(len(given.List(one.Name)), len(given.Secrets(one.Name))) {
		list = append(list, s.item(one, i))
	}
	return list
}

// get is a copy of a value, or its default.
func (s settings) get(v value) reflect.Value {
	if v.Secret {
		secret := (*s.secret)[v.name]
		return reflect.ValueOf(&secret).Elem()
	}
	text := cmp.Or((*s.plain)[v.name], v.Default)
	return reflect.ValueOf(&text).Elem()
}

func (s settings) put(v value, to reflect.Value) {
	if v.Secret {
		*s.secret = with(*s.secret, v.name, to.Interface().(subscriptions.Secret))
	} else {
		*s.plain = with(*s.plain, v.name, to.String())
	}
}

func with[T any](m map[string]T, name string, value T) map[string]T {
	if m == nil {
		m = map[string]T{}
	}
	m[name] = value
	return m
}

// visit calls f for each value; what f sets is kept.
func (s settings) visit(f func(place, reflect.Value)) {
	for _, one := range s.all {
		for _, v := range s.values(one) {
			now := s.get(v)
			was := now.Interface()
			if f(v.at, now); now.Interface() != was {
				s.put(v, now)
			}
		}
	}
}

func (p *Provider) visit(at place, f func(place, reflect.Value)) {
	f(at.key("kind"), reflect.ValueOf(&p.Kind).Elem())
	p.settings(at).visit(f)
	for i := range p.Tenants {
		t, at := &p.Tenants[i], at.key("tenants").item(strconv.Itoa(i))
		f(at.key("id"), reflect.ValueOf(&t.ID).Elem())
		t.settings(p.Kind, at).visit(f)
	}
}

// in narrows to those that stand together under a key; ok is false if none do.
// There are no groups in a group.
func (s settings) in(key string) (inner settings, ok bool) {
	inner = s
	inner.common, inner.group = nil, key+"."
	return inner, s.group == "" && len(inner.keys()) > 0
}

// keys lists what the mapping may hold.
func (s settings) keys() []string {
	list := slices.Clone(s.common)
	for _, one := range s.all {
		rest, ok := strings.CutPrefix(one.Name, s.group)
		if !ok {
			continue
		}
		if word, _, _ := strings.Cut(rest, "."); !slices.Contains(list, word) {
			list = append(list, word)
		}
	}
	return list
}

func (s settings) find(key string) (subscriptions.Setting, bool) {
	i := slices.IndexFunc(s.all, func(one subscriptions.Setting) bool { return one.Name == s.group+key })
	if i < 0 || strings.Contains(key, ".") {
		return subscriptions.Setting{}, false
	}
	return s.all[i], true
}

// path is where a setting that a provider names stands.
func (s settings) path(name string) (path string, ok bool) {
	for _, one := range s.all {
		for _, v := range append(s.values(one), value{name: one.Name, at: s.place(one)}) {
			if v.name == name {
				return v.at.path, true
			}
		}
	}
	return "", false
}
