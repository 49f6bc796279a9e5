package config_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/rescindhq/rescind/cmd/config"
)

// Whatever is read: no panic, no secret in an error, and what was accepted is
// shown as YAML that names the same fields.
func FuzzParse(f *testing.F) {
	whole, err := os.ReadFile("testdata/rescind.yml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(whole), "")
	f.Add("log: {level: [x]}\n---\n", "RESCIND_LOG_LEVEL=x")
	f.Add("redis: {password: env:FUZZ}", "FUZZ=hunter2")
	f.Add("providers: {a: {kind: ringcentral, tenants: [~, {id: 0x10}]}}", "RESCIND_PROVIDERS_A_TENANTS_1_ID=\xff")
	for _, s := range []string{
		"redis: {password: env:RC_JWT}\nlog: {level: env:RC_JWT}", "redis:\n  password: |\n    env:RC_JWT\n",
		"redis: {password: !!binary ZW52OlJDX0pXVA==}", "log: {level: &a x, format: *a}",
		strings.Repeat("[", 11_000),
		"providers: {a: {kind: ringcentral, tenants: [{verification_tokens: [env:RC_JWT, ~]}]}}",
		"providers: {a: {kind: ringcentral, tenants: [{token_exchange: {client_secret: env:RC_JWT, url: ~}}]}}",
		"nats: {replicas: 0x7fffffffffffffffff}",
		"worker: {life: 9999999999h}", "? redis\n: {password: env:RC_JWT}",
		"redis: {password: \"env:RC_JWT\\0\"}", "\xff: 1",
	} {
		f.Add(s, "")
	}
	f.Add("redis: {url: redis://r}", "RESCIND_REDIS_URL=redis://:x@r")
	f.Add(string(whole), "RESCIND_REDIS_PASSWORD=env:RC_JWT")
	f.Add(string(whole), "RESCIND_LISTENER_ADDR=env:RC_JWT")
	f.Fuzz(func(t *testing.T, file, env string) {
		c, err := config.Parse([]byte(file), "f", append(environ(), env))
		if (c == nil) == (err == nil) {
			t.Fatalf("%+v beside %v", c, err)
		}
		if err != nil {
			untold(t, text(err), file+env)
			return
		}
		shown := c.Effective()
		again, err := config.Parse([]byte(file), "f", append(environ(), env))
		if err != nil || !bytes.Equal(again.Effective(), shown) {
			t.Errorf("read again it is another: %v", err)
		}
		scalars(t, shown)
		bad := text(c.Validate(config.RoleListener, config.RoleWorker))
		untold(t, bad+string(shown)+fmt.Sprintf("%v %+v %#v", c, c, c), file+env)
	})
}

// untold wants a text to show none of the secrets that the environment has,
// unless what was read shows one itself.
func untold(t *testing.T, shown, read string) {
	t.Helper()
	const sealing = "aHVudGVyMi1odW50ZXIy" // the key's beginning, in base64
	if (strings.Contains(shown, leak) || strings.Contains(shown, sealing)) && !strings.Contains(read, leak) {
		t.Errorf("a secret shows: %s", shown)
	}
}

// scalars lists the paths of YAML, in order.
func scalars(t *testing.T, b []byte) []string {
	t.Helper()
	var root yaml.Node
	if err := yaml.Unmarshal(b, &root); err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
	var paths []string
	var walk func(n *yaml.Node, at string)
	walk = func(n *yaml.Node, at string) {
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i < len(n.Content); i += 2 {
				walk(n.Content[i+1], strings.TrimPrefix(at+"."+n.Content[i].Value, "."))
			}
		case yaml.SequenceNode:
			for i, item := range n.Content {
				walk(item, fmt.Sprintf("%s[%d]", at, i))
			}
		default:
			paths = append(paths, at)
		}
	}
	walk(root.Content[0], "")
	return paths
}
