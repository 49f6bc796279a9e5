package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
)

// maxFile bounds a configuration file, maxSecret the file of one secret.
const (
	maxFile   = 1 << 20
	maxSecret = 64 << 10
)

// PathVariable is the environment variable by which the services are told
// where the file is; it overrides no field.
const PathVariable = envPrefix + "CONFIG"

// ofTheTool are variables that commands of the operator's tool read: a shell in which
// they are set may start a service too.
var ofTheTool = []string{"RESCIND_ASK_URL", "RESCIND_ASK_TOKEN", "RESCIND_READER_URL", "RESCIND_READER_PASSWORD"}

// Load reads a file of at most 1 MiB. environ is what [os.Environ] returns.
// See [Parse].
func Load(path string, environ []string) (*Config, error) {
	b, err := readFile(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(b, path, environ)
}

// Parse reads a configuration; name is how errors call it. The error joins
// all that is wrong. What is absent has its default. The result has yet to
// pass [Config.Validate].
func Parse(b []byte, name string, environ []string) (*Config, error) {
	root, err := parseYAML(b, name)
	if err != nil {
		return nil, err
	}
	d := newDecoder(name, environ)
	c := Default()
	v := reflect.ValueOf(c).Elem()
	d.decode(root, v, place{})
	slices.SortFunc(c.Providers, func(a, b Provider) int { return strings.Compare(a.Name, b.Name) })
	d.override(v)
	c.origins, c.unresolved = d.origins, d.unresolved
	if len(d.errs) > 0 {
		return nil, errors.Join(d.errs...)
	}
	return c, nil
}

// readFile reads a regular file, so that a pipe or device cannot hold us up.
func readFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: is larger than %d bytes", path, limit)
	}
	return b, nil
}

// environment turns NAME=value lines into a map.
func environment(environ []string) map[string]string {
	m := make(map[string]string, len(environ))
	for _, line := range environ {
		if name, value, ok := strings.Cut(line, "="); ok {
			m[name] = value
		}
	}
	return m
}
