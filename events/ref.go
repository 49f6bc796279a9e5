package events

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// MaxID is the longest id, in bytes, that is accepted for a provider, tenant,
// subject, resource or tag. It keeps every derived key and subject bounded.
const MaxID = 256

// ErrID says that an id is empty, too long, or not UTF-8.
var ErrID = errors.New("unusable id")

type (
	// Provider is the configured name of a relationship with a vendor, such as
	// "ringcentral". It is part of every key.
	Provider string
	// Tenant is the customer's organisation at the provider: account,
	// enterprise, workspace.
	Tenant string
	// Subject is whose rights: extension, user.
	Subject string
	// Resource is on what; empty means the tenant itself.
	Resource string
)

// Home names a tenant at a provider: everything of one home is kept together.
type Home struct {
	Provider Provider `json:"provider"`
	Tenant   Tenant   `json:"tenant"`
}

// String is for logs: provider/tenant.
func (h Home) String() string { return string(h.Provider) + "/" + string(h.Tenant) }

// Validate returns an error that wraps [ErrID] and names the part at fault.
func (h Home) Validate() error {
	if err := CheckID(string(h.Provider)); err != nil {
		return fmt.Errorf("provider: %w", err)
	}
	if err := CheckID(string(h.Tenant)); err != nil {
		return fmt.Errorf("tenant: %w", err)
	}
	return nil
}

// Ref names an entry: what one subject may do on one resource.
type Ref struct {
	Home
	Subject  Subject  `json:"subject"`
	Resource Resource `json:"resource,omitempty"`
}

// String is for logs: provider/tenant/subject, then /resource if there is one.
func (r Ref) String() string {
	s := r.Home.String() + "/" + string(r.Subject)
	if r.Resource != "" {
		s += "/" + string(r.Resource)
	}
	return s
}

// Validate returns an error that wraps [ErrID] and names the part at fault.
func (r Ref) Validate() error {
	if err := r.Home.Validate(); err != nil {
		return err
	}
	if err := CheckID(string(r.Subject)); err != nil {
		return fmt.Errorf("subject: %w", err)
	}
	if r.Resource == "" {
		return nil
	}
	if err := CheckID(string(r.Resource)); err != nil {
		return fmt.Errorf("resource: %w", err)
	}
	return nil
}

// CheckID accepts any valid UTF-8 text of 1 to [MaxID] bytes.
func CheckID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("%w: empty", ErrID)
	case len(id) > MaxID:
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrID, len(id), MaxID)
	case !utf8.ValidString(id):
		return fmt.Errorf("%w: not UTF-8", ErrID)
	}
	return nil
}
