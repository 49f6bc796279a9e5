package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/rescindhq/rescind/subscriptions"
)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

var errLiteral = errors.New("is a secret: give env:NAME or file:/path, not the secret itself")

// secret reads what text points to. Where it cannot be read the secret is
// empty, and [Config.Validate] says so to those who need it.
func (d *decoder) secret(text string, at place) (subscriptions.Secret, error) {
	delete(d.origins, at.path)
	delete(d.unresolved, at.path)
	if text == "" {
		return subscriptions.Secret{}, nil
	}
	var value, why string
	if name, ok := strings.CutPrefix(text, "env:"); ok && variableName.MatchString(name) {
		d.sources[name] = true
		value, why = d.fromVariable(name)
	} else if path, ok := strings.CutPrefix(text, "file:"); ok && filepath.IsAbs(path) {
		value, why = fromFile(path)
	} else {
		return subscriptions.Secret{}, errLiteral
	}
	d.origins[at.path] = text
	if why != "" {
		d.unresolved[at.path] = why
	}
	return subscriptions.NewSecret(value), nil
}

func (d *decoder) fromVariable(name string) (value, why string) {
	value, ok := d.env[name]
	switch {
	case !ok:
		return "", fmt.Sprintf("environment variable %s is not set", name)
	case value == "":
		return "", fmt.Sprintf("environment variable %s is empty", name)
	}
	return value, ""
}

// fromFile reads a file and drops one newline at its end.
func fromFile(path string) (value, why string) {
	b, err := readFile(path, maxSecret)
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return "", fmt.Sprintf("file %s: %s", path, pathErr.Err)
	}
	if err != nil {
		return "", "file " + err.Error()
	}
	value = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if value == "" {
		return "", fmt.Sprintf("file %s is empty", path)
	}
	return value, ""
}

// override applies the variables RESCIND_….
func (d *decoder) override(root reflect.Value) {
	fields := map[string]place{}
	visit(root, place{}, func(at place, _ reflect.Value) {
		if other, ok := fields[at.env()]; ok {
			d.errs = append(d.errs, fmt.Errorf("%s: %s and %s are overridden by the same variable %s; rename one",
				d.name, other.path, at.path, at.env()))
		}
		fields[at.env()] = at
	})
	names := d.variables()
	visit(root, place{}, func(at place, v reflect.Value) {
		name := at.env()
		if !slices.Contains(names, name) {
			return
		}
		if err := d.set(v, d.env[name], at); err != nil {
			d.errs = append(d.errs, fmt.Errorf("environment: %s: %s: %w", name, at.path, err))
		}
	})
	for _, name := range names {
		if _, ok := fields[name]; !ok && !d.sources[name] { // an override may have made it one
			d.errs = append(d.errs, fmt.Errorf(
				"environment: %s: overrides no field and no secret is read from it; correct or unset it", name))
		}
	}
}

// variables lists those that are meant for us and are not the source of a
// secret, sorted.
func (d *decoder) variables() []string {
	var names []string
	for name := range d.env {
		if strings.HasPrefix(name, envPrefix) && name != PathVariable && !slices.Contains(ofTheTool, name) && !d.sources[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
