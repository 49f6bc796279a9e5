package box

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// The items that a trigger can be asked for on.
const (
	onFolder = 1 << iota
	onFile
)

// trigger is a kind of delivery.
type trigger struct {
	reach reach
	// asked is what we ask for it on: all that may change the rights of somebody
	// who has an entry. What is new has none.
	asked int
	names []string
}

// triggers is the table of guides/webhooks/triggers, at github
// box/developer.box.com eee1aa64. One that is not in it is for the item.
var triggers = []trigger{
	{theGrantee, onFolder, []string{"COLLABORATION.CREATED", "COLLABORATION.ACCEPTED",
		"COLLABORATION.REJECTED", "COLLABORATION.REMOVED", "COLLABORATION.UPDATED"}},
	{theItem, onFolder | onFile, []string{"SHARED_LINK.CREATED", "SHARED_LINK.UPDATED", "SHARED_LINK.DELETED"}},
	{thePlace, onFolder, []string{"FOLDER.MOVED", "FOLDER.RESTORED"}},
	{theItem, onFolder, []string{"FOLDER.TRASHED", "FOLDER.DELETED"}},
	{thePlace, onFolder | onFile, []string{"FILE.MOVED", "FILE.RESTORED"}},
	{theItem, onFolder | onFile, []string{"FILE.TRASHED", "FILE.DELETED", "FILE.LOCKED", "FILE.UNLOCKED"}},
	{theItem, onFolder, []string{"FILE.UPLOADED"}}, // also when a file is moved in
	// A classification can drive a policy of Shield.
	{theItem, onFolder | onFile, []string{"METADATA_INSTANCE.CREATED", "METADATA_INSTANCE.UPDATED",
		"METADATA_INSTANCE.DELETED"}},
	{theItem, 0, []string{"FOLDER.CREATED", "FOLDER.COPIED", "FILE.COPIED"}},
	// A signer's access ends with the request. Three have two names each.
	{theItem, 0, []string{"SIGN_REQUEST.COMPLETED", "SIGN_REQUEST.DECLINED", "SIGN_REQUEST.EXPIRED",
		"SIGN_REQUEST.SIGNER_EMAIL_BOUNCED", "SIGN_REQUEST.SIGNER_SIGNED", "SIGN_REQUEST.SIGN_SIGNER_SIGNED",
		"SIGN_REQUEST.SIGNATURE_REQUESTED", "SIGN_REQUEST.SIGN_DOCUMENT_CREATED",
		"SIGN_REQUEST.ERROR_FINALIZING", "SIGN_REQUEST.SIGN_ERROR_FINALIZING"}},
	// Nobody can ask for these two; what happens under the webhook is not told any
	// more, and who has come in below its item is not known.
	{everyone, 0, []string{triggerDeleted, triggerSession}},
	{nobody, 0, []string{"FILE.PREVIEWED", "FILE.DOWNLOADED", "FILE.RENAMED", "FOLDER.DOWNLOADED",
		"FOLDER.RENAMED", "COMMENT.CREATED", "COMMENT.UPDATED", "COMMENT.DELETED", "TASK_ASSIGNMENT.CREATED",
		"TASK_ASSIGNMENT.UPDATED", "DOCGEN_DOCUMENT_GENERATION_STARTED", "DOCGEN_DOCUMENT_GENERATION_SUCCEEDED",
		"DOCGEN_DOCUMENT_GENERATION_FAILED"}},
}

const (
	triggerDeleted = "WEBHOOK.DELETED"
	triggerSession = "NO_ACTIVE_SESSION"
)

// triggerReach is the item for what is unknown.
func triggerReach(name string) reach {
	for _, t := range triggers {
		if slices.Contains(t.names, name) {
			return t.reach
		}
	}
	return theItem
}

// triggersOn lists what is asked for on an item, in the table's order.
func triggersOn(i item) (names []string) {
	kind := onFile
	if i.kind == events.KindFolder {
		kind = onFolder
	}
	for _, t := range triggers {
		if t.asked&kind != 0 {
			names = append(names, t.names...)
		}
	}
	return names
}

// notice is a delivery's body. Its source and additional_info have many shapes,
// and the latter is an empty list where there is none.
type notice struct {
	ID        id              `json:"id"`
	CreatedAt string          `json:"created_at"`
	Trigger   string          `json:"trigger"`
	Webhook   json.RawMessage `json:"webhook"`
	Source    json.RawMessage `json:"source"`
	Info      json.RawMessage `json:"additional_info"`
}

// Translate makes the change that a verified delivery tells of. Its id is the
// body's, which is the same however often Box tries.
func (p *Provider) Translate(d subscriptions.Delivery) (events.Change, bool, error) {
	var n notice
	if err := json.Unmarshal(d.Body, &n); err != nil {
		return events.Change{}, false, fmt.Errorf("%w: %.200s", subscriptions.ErrUnreadable, err)
	}
	if n.Trigger == "" {
		return events.Change{}, false, fmt.Errorf("%w: no trigger", subscriptions.ErrUnreadable)
	}
	p.mourn(n)
	tags := n.told().tags(triggerReach(n.Trigger))
	if len(tags) == 0 {
		return events.Change{}, false, nil
	}
	c := events.Change{
		ID: p.changeID(string(n.ID), d.Body), Home: p.home, Tags: tags, Source: events.Webhook,
		Reasons: []string{client.Clip(n.Trigger)}, Received: d.Received, Occurred: parseTime(n.CreatedAt),
	}
	if err := c.Validate(); err != nil {
		return events.Change{}, false, fmt.Errorf("%w: %w", subscriptions.ErrUnreadable, err)
	}
	return c, true, nil
}

// mourn tells the operator that a webhook is served no more.
func (p *Provider) mourn(n notice) {
	if n.over() {
		p.client.Log().Warn("webhook is not served any more", slog.String("trigger", n.Trigger),
			slog.String("webhook", client.Word(n.sender())))
	}
}

func (n notice) over() bool { return n.Trigger == triggerDeleted || n.Trigger == triggerSession }

// sender is the id of the webhook; empty if it is none.
func (n notice) sender() string {
	var webhook struct {
		ID id `json:"id"`
	}
	if json.Unmarshal(n.Webhook, &webhook) != nil || events.CheckID(string(webhook.ID)) != nil {
		return ""
	}
	return string(webhook.ID)
}

func (n notice) told() happening {
	var moved struct {
		Before *thing `json:"before"`
		After  *thing `json:"after"`
	}
	if json.Unmarshal(n.Info, &moved) != nil {
		moved.Before, moved.After = nil, nil
	}
	return happening{source: loose(n.Source), before: moved.Before, after: moved.After}
}

// changeID is made of the vendor's id, or of the hash of what was told if that
// cannot stand in a message header.
func (p *Provider) changeID(id string, told []byte) string {
	foreign := func(r rune) bool { return r <= 0x20 || r > 0x7e }
	if id == "" || len(id) > events.MaxID || strings.ContainsFunc(id, foreign) {
		sum := sha256.Sum256(told)
		id = "sha256-" + hex.EncodeToString(sum[:])
	}
	return events.ChangeID(p.home, id)
}

// parseTime reads RFC 3339; zero if it is another, or has no text in the envelope.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if y := t.UTC().Year(); err != nil || y < 1 || y > 9999 {
		return time.Time{}
	}
	return t.UTC()
}
