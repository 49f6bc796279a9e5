package config

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/rescindhq/rescind/subscriptions"
)

// decodeProvider reads the kind before all else: what other keys there are
// depends on it.
func (d *decoder) decodeProvider(n *yaml.Node, p *Provider, at place) {
	if !d.present(n, at) || n.Kind == yaml.MappingNode && !d.decodeKind(n, p, at) {
		return
	}
	for key, value := range d.pairs(n, at) {
		switch key.Value {
		case "kind":
		case "tenants":
			d.decodeTenants(value, p, at.key("tenants"))
		default:
			d.decodeSetting(key, value, p.settings(at))
		}
	}
}

// decodeKind fails if there is no such kind. It does not show the text: it may
// be from a variable that, further down, turns out to be a secret.
func (d *decoder) decodeKind(n *yaml.Node, p *Provider, at place) bool {
	at = at.key("kind")
	for pair := range slices.Chunk(n.Content, 2) {
		if pair[0].Value == "kind" {
			n = pair[1]
			d.decode(n, reflect.ValueOf(&p.Kind).Elem(), at)
			break
		}
	}
	if text, ok := d.env[at.env()]; ok {
		p.Kind = text
	}
	if known := kinds(); !slices.Contains(known, p.Kind) {
		d.fail(n, at, "must be one of %s; the other keys depend on it", strings.Join(known, ", "))
		return false
	}
	return true
}

func (d *decoder) decodeTenants(n *yaml.Node, p *Provider, at place) {
	for i, item := range d.items(n, at) {
		var t Tenant
		d.decodeTenant(item, &t, p.Kind, at.item(strconv.Itoa(i)))
		p.Tenants = append(p.Tenants, t)
	}
}

func (d *decoder) decodeTenant(n *yaml.Node, t *Tenant, kind string, at place) {
	if !d.present(n, at) {
		return
	}
	for key, value := range d.pairs(n, at) {
		if key.Value == "id" {
			d.decode(value, reflect.ValueOf(&t.ID).Elem(), at.key("id"))
		} else {
			d.decodeSetting(key, value, t.settings(kind, at))
		}
	}
}

// decodeSetting reads a key that is a setting, or under which some stand.
func (d *decoder) decodeSetting(key, n *yaml.Node, s settings) {
	one, ok := s.find(key.Value)
	switch inner, group := s.in(key.Value); {
	case ok && one.Many > 0:
		d.decodeMany(n, s, one)
	case ok:
		d.decodeValue(n, s, s.values(one)[0])
	case group:
		d.decodeGroup(n, inner, s.at.key(key.Value))
	default:
		d.fail(key, s.at.key(s.group+shorten(key.Value)), "is unknown for kind %s; there are %s",
			s.kind, strings.Join(s.keys(), ", "))
	}
}

func (d *decoder) decodeGroup(n *yaml.Node, s settings, at place) {
	if !d.present(n, at) {
		return
	}
	for key, value := range d.pairs(n, at) {
		d.decodeSetting(key, value, s)
	}
}

func (d *decoder) decodeMany(n *yaml.Node, s settings, one subscriptions.Setting) {
	list := d.items(n, s.place(one))
	if len(list) > one.Many {
		d.fail(n, s.place(one), "must be a list of at most %d; got %d", one.Many, len(list))
		return
	}
	for i, item := range list {
		d.decodeValue(item, s, s.item(one, i))
	}
}

func (d *decoder) decodeValue(n *yaml.Node, s settings, v value) {
	to := s.get(v)
	d.decode(n, to, v.at)
	s.put(v, to)
}

// providerNode is a provider as YAML.
func (c *Config) providerNode(p *Provider, at place) *yaml.Node {
	n := mapping("kind", p.Kind)
	c.addSettings(n, p.settings(at))
	tenants := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range p.Tenants {
		t := &p.Tenants[i]
		one := mapping("id", t.ID)
		c.addSettings(one, t.settings(p.Kind, at.key("tenants").item(strconv.Itoa(i))))
		tenants.Content = append(tenants.Content, one)
	}
	n.Content = append(n.Content, textNode("tenants"), tenants)
	return n
}

func (c *Config) addSettings(n *yaml.Node, s settings) {
	groups := map[string]*yaml.Node{}
	for _, one := range s.all {
		into, key := n, one.Name
		if group, rest, dotted := strings.Cut(one.Name, "."); dotted {
			if groups[group] == nil {
				groups[group] = &yaml.Node{Kind: yaml.MappingNode}
				n.Content = append(n.Content, textNode(group), groups[group])
			}
			into, key = groups[group], rest
		}
		into.Content = append(into.Content, textNode(key), c.settingNode(s, one))
	}
}

func (c *Config) settingNode(s settings, one subscriptions.Setting) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, v := range s.values(one) {
		list.Content = append(list.Content, c.scalarNode(s.get(v), v.at))
	}
	if one.Many == 0 {
		return list.Content[0]
	}
	return list
}

func mapping(key, text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{textNode(key), textNode(text)}}
}
