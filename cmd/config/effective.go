package config

import (
	"bytes"
	"fmt"
	"reflect"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/rescindhq/rescind/subscriptions"
)

// Effective is the configuration as YAML, defaults filled in, each secret as
// [redacted] with where it is from. Equal configurations give equal bytes.
func (c *Config) Effective() []byte {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(c.node(reflect.ValueOf(c).Elem(), place{})); err != nil {
		return fmt.Appendf(nil, "# %v\n", err) // invalid UTF-8 in a value
	}
	return b.Bytes()
}

func (c *Config) node(v reflect.Value, at place) *yaml.Node {
	switch {
	case isScalar(v):
		return c.scalarNode(v, at)
	case v.Kind() == reflect.Struct:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for i := range v.NumField() {
			if name := keyOf(v.Type().Field(i)); name != "" {
				n.Content = append(n.Content, textNode(name), c.node(v.Field(i), at.key(name)))
			}
		}
		return n
	}
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := range c.Providers {
		p := &c.Providers[i]
		n.Content = append(n.Content, textNode(p.Name), c.providerNode(p, at.entry(p.Name)))
	}
	return n
}

func (c *Config) scalarNode(v reflect.Value, at place) *yaml.Node {
	switch value := v.Interface().(type) {
	case subscriptions.Secret:
		text, origin := value.String(), c.origins[at.path]
		switch why := c.unresolved[at.path]; {
		case why != "":
			text = "[missing] " + why
		case text != "" && origin != "":
			text += " from " + origin
		}
		return textNode(text)
	case string:
		return textNode(value)
	case time.Duration:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: value.String()}
	default:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(value)}
	}
}

func textNode(text string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(text)
	return n
}
