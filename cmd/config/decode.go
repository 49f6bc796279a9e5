package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/rescindhq/rescind/subscriptions"
)

var (
	providerName  = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
	passwordInURL = regexp.MustCompile(`://[^@]*:[^@]*@`)
)

// decoder turns YAML into a Config and keeps account of secrets and errors.
type decoder struct {
	name       string
	env        map[string]string
	sources    map[string]bool // variables that secrets come from
	origins    map[string]string
	unresolved map[string]string
	errs       []error
}

func newDecoder(name string, environ []string) *decoder {
	return &decoder{
		name: name, env: environment(environ),
		sources: map[string]bool{}, origins: map[string]string{}, unresolved: map[string]string{},
	}
}

// parseYAML returns the one document's node; nil if there is none.
func parseYAML(b []byte, name string) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}, nil
	}
	if err == nil {
		if err = dec.Decode(&second); errors.Is(err, io.EOF) {
			return doc.Content[0], nil
		}
		if err == nil {
			return nil, fmt.Errorf("%s:%d: a second document begins here; give one", name, second.Line)
		}
	}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if strings.Contains(text, "anchor") || strings.Contains(text, "`") { // these repeat a value
		text = "an alias is used or a tag does not fit; quote values that begin with * or !"
	}
	return nil, fmt.Errorf("%s: yaml: %s", name, text)
}

func (d *decoder) fail(n *yaml.Node, at place, format string, args ...any) {
	where := fmt.Sprintf("%s:%d: ", d.name, n.Line)
	if at.path != "" {
		where += at.path + ": "
	}
	d.errs = append(d.errs, errors.New(where+fmt.Sprintf(format, args...)))
}

func (d *decoder) decode(n *yaml.Node, v reflect.Value, at place) {
	switch {
	case !d.present(n, at):
	case isScalar(v):
		d.decodeScalar(n, v, at)
	case v.Kind() == reflect.Struct:
		d.decodeStruct(n, v, at)
	default:
		d.decodeProviders(n, v.Addr().Interface().(*[]Provider), at)
	}
}

// present is false for null, and for what is not supported.
func (d *decoder) present(n *yaml.Node, at place) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		d.fail(n, at, "aliases are not supported; write the value")
	case strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!"):
		d.fail(n, at, "tags are not supported; quote a value that begins with !")
	default:
		return n.Tag != "!!null"
	}
	return false
}

func (d *decoder) decodeStruct(n *yaml.Node, v reflect.Value, at place) {
	var known []string
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		if name := keyOf(v.Type().Field(i)); name != "" {
			known, fields[name] = append(known, name), v.Field(i)
		}
	}
	for key, value := range d.pairs(n, at) {
		if f, ok := fields[key.Value]; ok {
			d.decode(value, f, at.key(key.Value))
		} else {
			d.fail(key, at.key(shorten(key.Value)), "is unknown; there are %s", strings.Join(known, ", "))
		}
	}
}

func (d *decoder) decodeProviders(n *yaml.Node, list *[]Provider, at place) {
	for key, value := range d.pairs(n, at) {
		if !providerName.MatchString(key.Value) {
			d.fail(key, at.entry(shorten(key.Value)), "a provider's name must be 1 to 32 of a-z 0-9 -")
			continue
		}
		p := Provider{Name: key.Value}
		d.decodeProvider(value, &p, at.entry(key.Value))
		*list = append(*list, p)
	}
}

// items are those of a list.
func (d *decoder) items(n *yaml.Node, at place) []*yaml.Node {
	if !d.present(n, at) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		d.fail(n, at, "must be a list")
		return nil
	}
	return n.Content
}

// pairs yields the keys and values of a mapping, each key once.
func (d *decoder) pairs(n *yaml.Node, at place) func(yield func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		if n.Kind != yaml.MappingNode {
			d.fail(n, at, "must be a mapping, with a key: value on each line")
			return
		}
		lines := map[string]int{}
		for pair := range slices.Chunk(n.Content, 2) {
			key, value := pair[0], pair[1]
			first, twice := lines[key.Value]
			lines[key.Value] = key.Line
			switch {
			case key.Kind != yaml.ScalarNode:
				d.fail(key, at, "a key must be a plain word")
			case twice:
				d.fail(key, at.key(shorten(key.Value)), "is given twice, first on line %d; remove one", first)
			case !yield(key, value):
				return
			}
		}
	}
}

func (d *decoder) decodeScalar(n *yaml.Node, v reflect.Value, at place) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n, at, "must be a single value")
		return
	}
	if err := d.set(v, n.Value, at); err != nil {
		d.fail(n, at, "%s", err)
	}
}

// set sets a scalar of any type.
func (d *decoder) set(v reflect.Value, text string, at place) error {
	if v.Type() != reflect.TypeFor[subscriptions.Secret]() {
		if passwordInURL.MatchString(text) || at.pattern == "nats.url" && strings.Contains(text, "@") {
			return errors.New("must not hold a password or token; there is a field for it")
		}
		return setScalar(v, text)
	}
	secret, err := d.secret(text, at)
	if err != nil {
		return err
	}
	v.Set(reflect.ValueOf(secret))
	return nil
}

func setInt(v reflect.Value, text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return errors.New("must be a whole number")
	}
	v.SetInt(int64(n))
	return nil
}

// shorten makes a key from the file fit for an error.
func shorten(key string) string {
	q := strconv.QuoteToASCII(key)
	if len(q) > 42 {
		q = q[:40] + "…"
	}
	if q == `"`+key+`"` {
		return key
	}
	return q
}
