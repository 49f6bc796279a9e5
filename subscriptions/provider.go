package subscriptions

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
)

// Deps is what every provider is given by the service that opens it.
type Deps struct {
	// HTTP makes the calls; its transport is used, its redirect policy is not.
	HTTP *http.Client
	// Vault keeps the tokens, for the whole fleet.
	Vault Vault
	// Budget grants every call; nil grants all, whatever the vendor says.
	Budget Budget
	Log    *slog.Logger
}

// Settings are the configuration of one provider as a service read it. Which
// names there are stands in the manual of the provider's package.
type Settings struct {
	Plain  map[string]string
	Secret map[string]Secret
}

// Check names the first setting that is in neither list, so that a misspelt
// one is not ignored.
func (s Settings) Check(plain, secret []string) error {
	for name := range s.Plain {
		if !slices.Contains(plain, name) {
			return fmt.Errorf("setting %.60q is unknown, there are %v", name, plain)
		}
	}
	for name := range s.Secret {
		if !slices.Contains(secret, name) {
			return fmt.Errorf("secret setting %.60q is unknown, there are %v", name, secret)
		}
	}
	return nil
}

// Scope is a right that an application may hold at a provider.
type Scope struct {
	// Name is how the vendor's documents print it, ID how it stands in tokens.
	Name string
	ID   string
	// Includes lists the IDs that it implies directly.
	Includes []string
	// OnRequest: the vendor must be asked for it.
	OnRequest bool
	// Tabled is false if only the API description knows it, not the table.
	Tabled bool
}
