package subscriptions

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Deps is what every provider is given by the service that opens it.
type Deps struct {
	// HTTP makes the calls; its transport is used, its redirect policy is not.
	HTTP *http.Client
	// Vault keeps the tokens, for the whole fleet.
	Vault Vault
	// Budget grants every call.
	Budget Budget
	Log    *slog.Logger
}

// Setting is one thing that a kind of provider can be told.
type Setting struct {
	// Name is its key in a configuration, unique in its kind. One that begins with
	// the same word and a dot as others, such as token_exchange.url, stands with
	// them under that word.
	Name string
	// Doc says for people what it is, with units and bounds.
	Doc string
	// Default is what counts if it is absent or empty; the provider itself sees to
	// that.
	Default string
	// Secret: it is in [Settings.Secret]. Must: it may not be empty; of a list
	// there is at least one. Tenant: it is given for each tenant.
	Secret, Must, Tenant bool
	// Many: it is a list of at most so many; in [Settings] they are name.0, name.1
	// and so on. Zero: it is one value.
	Many int
}

// Settings are the configuration of one provider for one tenant, as a service
// read it, by the names of the kind's [Setting].
type Settings struct {
	Plain  map[string]string
	Secret map[string]Secret
}

// Check refuses a name that is not among all, so that a misspelt one is not
// ignored.
func (s Settings) Check(all []Setting) error {
	for name := range s.Plain {
		if !listed(all, name, false) {
			return fmt.Errorf("setting %.60q is unknown, there are %s", name, namesOf(all, false))
		}
	}
	for name := range s.Secret {
		if !listed(all, name, true) {
			return fmt.Errorf("secret setting %.60q is unknown, there are %s", name, namesOf(all, true))
		}
	}
	return nil
}

func listed(all []Setting, name string, secret bool) bool {
	return slices.ContainsFunc(all, func(s Setting) bool {
		if s.Secret != secret || s.Many == 0 {
			return s.Secret == secret && s.Name == name
		}
		n, err := strconv.Atoi(strings.TrimPrefix(name, s.Name+"."))
		return err == nil && n >= 0 && n < s.Many && name == Item(s.Name, n)
	})
}

func namesOf(all []Setting, secret bool) string {
	var names []string
	for _, s := range all {
		if s.Secret == secret {
			names = append(names, s.Name)
		}
	}
	return strings.Join(names, ", ")
}

// Item is the name in [Settings] of the n-th value, from 0, of a list.
func Item(name string, n int) string { return name + "." + strconv.Itoa(n) }

// List is a plain setting that is a list, in order.
func (s Settings) List(name string) []string { return listOf(s.Plain, name) }

// Secrets is a secret setting that is a list, in order.
func (s Settings) Secrets(name string) []Secret { return listOf(s.Secret, name) }

func listOf[T any](values map[string]T, name string) (list []T) {
	for {
		one, ok := values[Item(name, len(list))]
		if !ok {
			return list
		}
		list = append(list, one)
	}
}

// Duration is a plain setting that is a duration, such as 60s; an absent or empty
// one is 0. Its error is a [*SettingError].
func (s Settings) Duration(name string) (time.Duration, error) {
	text := s.Plain[name]
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, &SettingError{Name: name, Err: errors.New("must be a duration, such as 60s")}
	}
	return d, nil
}

// SettingError is what a provider that is opened says of a setting that it cannot
// use; several are joined. Whoever read the file knows where it stands there.
type SettingError struct {
	// Name is that in [Settings]; "id" is the tenant's id.
	Name string
	// Err is the remedy. It does not repeat what may hold a password.
	Err error
}

// Error names setting and remedy.
func (e *SettingError) Error() string { return e.Name + ": " + e.Err.Error() }

// Unwrap is the remedy.
func (e *SettingError) Unwrap() error { return e.Err }

// Scope is a right that an application may hold at a provider.
type Scope struct {
	// Name is how the vendor's documents print it, ID how it stands in tokens.
	Name string
	ID   string
	// Includes lists the IDs that it implies directly.
	Includes []string
	// Aliases are other names of the same right: former ones, or disputed.
	Aliases []string
	// Needs lists the IDs without all of which it is of no effect.
	Needs []string
	// OnRequest: the vendor must be asked for it.
	OnRequest bool
	// Tabled is false if only the API description knows it, not the table.
	Tabled bool
}
