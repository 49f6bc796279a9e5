package ringcentral

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// notice is a notification, in the shapes of the documents and of the API
// description at once: they disagree on where ownerId stands and on whether
// the extension list comes as a batch.
type notice struct {
	UUID         id         `json:"uuid"`
	Event        string     `json:"event"`
	Timestamp    string     `json:"timestamp"`
	Subscription id         `json:"subscriptionId"`
	Owner        id         `json:"ownerId"`
	Body         noticeBody `json:"body"`
}

type noticeBody struct {
	extensionChange
	Owner      id                `json:"ownerId"`
	Extensions []extensionChange `json:"extensions"`
}

type extensionChange struct {
	Extension id     `json:"extensionId"`
	Type      string `json:"eventType"`
	Hints     hints  `json:"hints"`
}

// id is an id written as a string or as an integer.
type id string

// UnmarshalJSON refuses fractions, exponents and other types, and does not say
// what it was given: that may be anything.
func (i *id) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	if b[0] == '"' {
		return json.Unmarshal(b, (*string)(i))
	}
	if strings.Trim(string(b), "0123456789") != "" {
		return errors.New("an id is neither a string nor a whole number")
	}
	*i = id(b)
	return nil
}

// hints is a list of hints; a single one may stand without its list.
type hints []string

// UnmarshalJSON reads a list or a string.
func (h *hints) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		*h = hints{""}
		return json.Unmarshal(b, &(*h)[0])
	}
	return json.Unmarshal(b, (*[]string)(h))
}

// irrelevant lists the hints that concern no right (extension-list.md and
// extension-info.md). Every other hint, known or not, is a change.
var irrelevant = []string{
	"CallQueueMembersChange", "CompanyNumbers", "DialingPlan", "AnsweringRules", "ProfileImage",
}

// accountWide lists the hints that concern the whole account.
var accountWide = []string{"AccountStatus", "AccountSettings"}

// Translate makes the change that a verified notification tells of.
func (p *Provider) Translate(d subscriptions.Delivery) (events.Change, bool, error) {
	if len(d.Body) == 0 {
		return events.Change{}, false, nil
	}
	var n notice
	if err := json.Unmarshal(d.Body, &n); err != nil {
		return events.Change{}, false, fmt.Errorf("%w: %.200s", subscriptions.ErrUnreadable, err)
	}
	kind, extension, err := p.classify(n.Event)
	if err != nil {
		return events.Change{}, false, err
	}
	if kind != listEvent && kind != infoEvent {
		p.log.Info("notification without a change", slog.String("kind", string(kind)),
			slog.String("subscription", client.Clip(string(n.Subscription))))
		return events.Change{}, false, nil
	}
	tags, reasons := n.changes(kind, extension)
	if len(tags) == 0 {
		return events.Change{}, false, nil
	}
	c := events.Change{
		ID: p.changeID(string(n.UUID), d.Body), Home: p.home, Tags: tags, Reasons: reasons,
		Source: events.Webhook, Received: d.Received, Occurred: parseTime(n.Timestamp),
	}
	if err := c.Validate(); err != nil {
		return events.Change{}, false, fmt.Errorf("%w: %w", subscriptions.ErrUnreadable, err)
	}
	return c, true, nil
}

// eventKind is what an event path is about.
type eventKind string

const (
	listEvent     eventKind = "extension list"
	infoEvent     eventKind = "extension"
	reminderEvent eventKind = "reminder"
	// Grants are delegations (pick up calls, monitor) and the directory holds
	// names and numbers: neither carries a permission, role or feature.
	grantEvent     eventKind = "extension grants"
	directoryEvent eventKind = "directory"
	otherEvent     eventKind = "other" // never asked for
)

// classify goes by the shape of the path: it comes with "~" or real ids, with
// or without a query. extension is the path's, empty if it has none or "~".
func (p *Provider) classify(event string) (kind eventKind, extension string, err error) {
	path, _, _ := strings.Cut(event, "?")
	s := strings.Split(strings.Trim(path, "/"), "/") // restapi v1.0 account 1 extension 2
	if len(s) < 4 || s[0] != "restapi" {
		return "", "", fmt.Errorf("%w: event is not a path of the API", subscriptions.ErrUnreadable)
	}
	if s[2] == "subscription" {
		return reminderEvent, "", nil
	}
	if s[2] != "account" {
		return otherEvent, "", nil
	}
	if s[3] != "~" && s[3] != string(p.home.Tenant) {
		return "", "", fmt.Errorf("%w: event of another account", subscriptions.ErrUnreadable)
	}
	rest := s[4:]
	if len(rest) > 1 && rest[0] == "extension" && rest[1] != "~" {
		extension = rest[1]
	}
	switch {
	case len(rest) == 1 && rest[0] == "extension":
		return listEvent, "", nil
	case len(rest) == 2 && rest[0] == "extension":
		return infoEvent, extension, nil
	case len(rest) == 3 && rest[0] == "extension" && rest[2] == "grant":
		return grantEvent, extension, nil
	case len(rest) > 1 && rest[0] == "directory":
		return directoryEvent, "", nil
	}
	return otherEvent, "", nil
}

// changes lists the tags, each once, and the vendor's words for people. The
// tenant's tag stands for all others.
func (n notice) changes(kind eventKind, extension string) ([]events.Tag, []string) {
	var tags []events.Tag
	var reasons []string
	seen := map[events.Tag]bool{}
	for _, e := range n.extensions(kind, extension) {
		if !e.relevant() {
			continue
		}
		reasons = addReasons(reasons, e)
		tag := events.SubjectTag(events.Subject(e.Extension))
		if e.Extension == "" || slices.ContainsFunc(e.Hints, isAccountWide) {
			tag = events.TenantTag
		}
		if !seen[tag] {
			seen[tag] = true
			tags = append(tags, tag)
		}
	}
	if seen[events.TenantTag] || len(tags) > events.MaxTags {
		tags = []events.Tag{events.TenantTag}
	}
	return tags, reasons
}

// extensions is who changed. The batch wins over the flat form. If nobody is
// named, neither in the body nor in the path, "~" is the owner; and if the
// owner is not named either, the result has no id, which is the tenant.
func (n notice) extensions(kind eventKind, extension string) []extensionChange {
	if n.Body.Extensions != nil {
		return n.Body.Extensions
	}
	one := n.Body.extensionChange
	if one.Extension == "" {
		one.Extension = id(extension)
	}
	if one.Extension == "" && kind == infoEvent {
		one.Extension = n.Owner
		if n.Body.Owner != "" {
			one.Extension = n.Body.Owner
		}
	}
	changes := []extensionChange{one}
	if extension != "" && string(one.Extension) != extension {
		other := one
		other.Extension = id(extension)
		changes = append(changes, other)
	}
	return changes
}

// relevant is false only for an update all of whose hints are irrelevant.
func (e extensionChange) relevant() bool {
	if e.Type != "Update" || len(e.Hints) == 0 {
		return true
	}
	return slices.ContainsFunc(e.Hints, func(h string) bool { return !slices.Contains(irrelevant, h) })
}

func isAccountWide(hint string) bool { return slices.Contains(accountWide, hint) }

// maxReasons bounds the words kept of a batch.
const maxReasons = 16

func addReasons(reasons []string, e extensionChange) []string {
	for _, r := range append([]string{e.Type}, e.Hints...) {
		r = client.Clip(r)
		if len(reasons) < maxReasons && r != "" && !slices.Contains(reasons, r) {
			reasons = append(reasons, r)
		}
	}
	return reasons
}

// changeID is made of the notification's uuid, or of the body's hash if there
// is none that can stand in a message header.
func (p *Provider) changeID(uuid string, body []byte) string {
	if uuid == "" || len(uuid) > events.MaxID || !printable(uuid) || strings.Contains(uuid, " ") {
		sum := sha256.Sum256(body)
		uuid = "sha256-" + hex.EncodeToString(sum[:])
	}
	return events.ChangeID(p.home, uuid)
}

// parseTime reads both of the vendor's formats; zero if it is neither.
func parseTime(s string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700"} {
		// A year of five digits has no text in the envelope.
		if t, err := time.Parse(layout, s); err == nil && t.UTC().Year() > 0 && t.UTC().Year() < 10000 {
			return t.UTC()
		}
	}
	return time.Time{}
}
