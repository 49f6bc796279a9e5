package box_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/box"
)

// wholeFile is a source as Box's guide shows it (guides/webhooks/v2/index).
const wholeFile = `{"id":"73835521473","type":"file","sequence_id":"0","etag":"0","name":"f.png",
	"path_collection":{"total_count":2,"entries":[{"type":"folder","id":"0","name":"All Files"},
		{"type":"folder","id":"8290188973","name":"Hooks"}]},
	"owned_by":{"type":"user","id":"226067247"},"shared_link":null,
	"parent":{"type":"folder","id":"8290188973","name":"Hooks"},"item_status":"active"}`

// body is a delivery's, done by user 7, who is never the subject.
func body(trigger, source, info string) string {
	return fmt.Sprintf(`{"type":"webhook_event","id":"eb0c4e06","created_at":"2025-05-11T20:22:42-07:00",
		"trigger":%q,"webhook":{"id":"53","type":"webhook"},"created_by":{"type":"user","id":"7"},
		"source":%s,"additional_info":%s}`, trigger, source, info)
}

func TestTranslate(t *testing.T) {
	const (
		collabOfUser = `{"type":"collaboration","accessible_by":{"type":"user","id":"42"},"role":"editor",
			"item":{"type":"folder","id":"11"}}`
		collabOfGroup = `{"type":"collaboration","accessible_by":{"type":"group","id":"5"},
			"item":{"type":"folder","id":"11"}}`
		collabOfNone = `{"type":"collaboration","accessible_by":null,"invite_email":"a@b.example",
			"item":{"type":"folder","id":"11"}}`
		collabOwner = `{"type":"collaboration","accessible_by":{"type":"user","id":"42"},"role":"owner",
			"item":{"type":"folder","id":"11"}}`
		moved  = `{"before":{"id":"20","type":"folder"},"after":{"id":"30","type":"folder"}}`
		signed = `{"sign_request_id":"1","signer_emails":["a@b.example"],"external_id":null}`
	)
	for name, c := range map[string]struct{ trigger, source, info, want string }{
		"a user's collaboration":  {"COLLABORATION.UPDATED", collabOfUser, `[]`, "subject:42"},
		"a group's collaboration": {"COLLABORATION.REMOVED", collabOfGroup, `[]`, "group:5"},
		"an unregistered invitee": {"COLLABORATION.CREATED", collabOfNone, `[]`, "folder:0 folder:11"},
		"a new owner":             {"COLLABORATION.UPDATED", collabOwner, `[]`, "folder:0 folder:11 subject:42"},
		"a collaboration told by its item": {"COLLABORATION.CREATED", `{"type":"folder","id":"11"}`, `[]`,
			"folder:0 folder:11"},
		"a collaboration told by nothing": {"COLLABORATION.CREATED", `null`, `[]`, "tenant"},
		"a shared link":                   {"SHARED_LINK.CREATED", wholeFile, `[]`, "file:73835521473"},
		"a folder moved": {"FOLDER.MOVED",
			`{"type":"folder","id":"11","parent":{"type":"folder","id":"30"}}`, moved,
			"folder:0 folder:11 folder:20 folder:30"},
		"a file moved, no one says where": {"FILE.MOVED", wholeFile, `[]`,
			"file:73835521473 folder:0 folder:8290188973"},
		"restored": {"FOLDER.RESTORED", `{"type":"folder","id":"11"}`, `[]`,
			"folder:0 folder:11"},
		"moved, but nothing named": {"FOLDER.MOVED", `{}`, moved, "tenant"},
		"trashed, a bare id":       {"FILE.TRASHED", `{"id":"12","type":"file"}`, `[]`, "file:12"},
		"trashed, ids as numbers":  {"FILE.TRASHED", `{"id":12,"type":"file"}`, `[]`, "file:12"},
		"uploaded, or moved in":    {"FILE.UPLOADED", wholeFile, `[]`, "file:73835521473"},
		"a lock":                   {"FILE.LOCKED", wholeFile, `[]`, "file:73835521473"},
		"a classification": {"METADATA_INSTANCE.UPDATED", wholeFile, `{"a":[1]}`,
			"file:73835521473"},
		"a signature": {"SIGN_REQUEST.COMPLETED", wholeFile, signed, "file:73835521473"},
		"a signature by its other name": {"SIGN_REQUEST.SIGN_SIGNER_SIGNED", wholeFile, `[]`,
			"file:73835521473"},
		"a preview":  {"FILE.PREVIEWED", wholeFile, `[]`, ""},
		"a new name": {"FILE.RENAMED", wholeFile, `{"old_name":"x"}`, ""},
		"a comment":  {"COMMENT.CREATED", `{"type":"comment","id":"1"}`, `[]`, ""},
		"a trigger of tomorrow": {"FOLDER.FROZEN", `{"type":"folder","id":"11"}`, `[]`,
			"folder:0 folder:11"},
		"one of tomorrow about nothing":   {"ENTERPRISE.SOLD", `null`, `[]`, "tenant"},
		"one of tomorrow about a weblink": {"WEB_LINK.MOVED", `{"type":"web_link","id":"1"}`, `[]`, "tenant"},
		"a source of another form":        {"FILE.TRASHED", `["file"]`, `"?"`, "tenant"},
		"an id that is none":              {"FILE.TRASHED", `{"type":"file","id":""}`, `[]`, "tenant"},
		"the webhook deleted":             {"WEBHOOK.DELETED", `null`, `{"reason":"auto_cleanup"}`, "tenant"},
		"the webhook deleted, its source": {"WEBHOOK.DELETED", `{"type":"folder","id":"11"}`, `[]`, "tenant"},
		"the session over":                {"NO_ACTIVE_SESSION", `null`, `[]`, "tenant"},
	} {
		t.Run(name, func(t *testing.T) {
			d := subscriptions.Delivery{Home: home, Body: []byte(body(c.trigger, c.source, c.info)),
				Received: time.Now()}
			got, ok, err := open(t, testConfig()).Translate(d)
			if err != nil || ok != (c.want != "") || spell(got.Tags) != c.want {
				t.Fatalf("tags %q, %t, %v, want %q", spell(got.Tags), ok, err, c.want)
			}
			if !ok {
				return
			}
			at := time.Date(2025, 5, 12, 3, 22, 42, 0, time.UTC)
			if got.ID != "box:987:eb0c4e06" || !got.Occurred.Equal(at) || got.Source != events.Webhook ||
				!slices.Equal(got.Reasons, []string{c.trigger}) {
				t.Errorf("change %+v", got)
			}
		})
	}
}

// TestAWebhookThatIsNoMoreDropsTheTenant: who came in below what it watched is not
// known.
func TestAWebhookThatIsNoMoreDropsTheTenant(t *testing.T) {
	w := open(t, testConfig())
	for _, text := range []string{
		`{"trigger":"WEBHOOK.DELETED","id":"2","webhook":{"id":"54","target":{"id":"12","type":"file"}}}`,
		`{"trigger":"NO_ACTIVE_SESSION","id":"3","webhook":{"id":"55"},"source":{"type":"file","id":"12"}}`,
	} {
		c, ok, err := w.Translate(subscriptions.Delivery{Home: home, Body: []byte(text), Received: time.Now()})
		if err != nil || !ok || spell(c.Tags) != "tenant" {
			t.Errorf("%s: tags %q, %t, %v", text, spell(c.Tags), ok, err)
		}
	}
	if log := w.log.String(); !strings.Contains(log, `"webhook":"55"`) || !strings.Contains(log, "WARN") {
		t.Errorf("no warning in %s", log)
	}
}

// eventsOf says which enterprise events tell the same as a trigger that is asked for.
// Of those without, no event is documented. (guides/events/enterprise-events/
// for-enterprise, at github box/developer.box.com eee1aa64)
var eventsOf = map[string][]string{
	"COLLABORATION.CREATED":     {"COLLABORATION_INVITE"},
	"COLLABORATION.ACCEPTED":    {"COLLABORATION_ACCEPT"},
	"COLLABORATION.REJECTED":    nil,
	"COLLABORATION.REMOVED":     {"COLLABORATION_REMOVE"},
	"COLLABORATION.UPDATED":     {"COLLABORATION_ROLE_CHANGE", "COLLABORATION_EXPIRATION"},
	"SHARED_LINK.CREATED":       {"SHARE"},
	"SHARED_LINK.UPDATED":       {"ITEM_SHARED_UPDATE", "UPDATE_SHARE_EXPIRATION"},
	"SHARED_LINK.DELETED":       {"UNSHARE"},
	"FOLDER.MOVED":              {"MOVE"},
	"FOLDER.RESTORED":           {"UNDELETE"},
	"FOLDER.TRASHED":            {"DELETE"},
	"FOLDER.DELETED":            nil,
	"FILE.MOVED":                {"MOVE"},
	"FILE.RESTORED":             {"UNDELETE"},
	"FILE.TRASHED":              {"DELETE"},
	"FILE.DELETED":              nil,
	"FILE.LOCKED":               {"LOCK"},
	"FILE.UNLOCKED":             {"UNLOCK"},
	"FILE.UPLOADED":             {"MOVE"}, // what is uploaded is new: nobody has an entry of it
	"METADATA_INSTANCE.CREATED": {"METADATA_INSTANCE_CREATE"},
	"METADATA_INSTANCE.UPDATED": {"METADATA_INSTANCE_UPDATE"},
	"METADATA_INSTANCE.DELETED": {"METADATA_INSTANCE_DELETE"},
}

// TestEventsThatTellWhatWebhooksTell: such an event concerns at least those whom the
// trigger does. The tail makes up for a webhook if there is one for every trigger.
func TestEventsThatTellWhatWebhooksTell(t *testing.T) {
	asked := slices.Concat(box.TriggersOn("folder"), box.TriggersOn("file"))
	tailed := true
	for _, trigger := range asked {
		types, listed := eventsOf[trigger]
		if !listed {
			t.Errorf("%s is not in the table", trigger)
		}
		tailed = tailed && len(types) > 0
		for _, name := range types {
			whom, known := box.Concerned(name)
			want := box.TriggerConcerns(trigger)
			wider := strings.HasPrefix(whom, want) // here, or also where it was
			if !known || !wider {
				t.Errorf("%s concerns %q, %s %q", name, whom, trigger, want)
			}
		}
	}
	for trigger := range eventsOf {
		if !slices.Contains(asked, trigger) {
			t.Errorf("%s is not asked for", trigger)
		}
	}
	if got := open(t, testConfig()).Terms().Tailed; got != tailed {
		t.Errorf("tailed %t, by the table %t", got, tailed)
	}
}

func TestADeliveryIsNamedByItsBody(t *testing.T) {
	p := open(t, testConfig())
	id := func(body string) string {
		c, ok, err := p.Translate(subscriptions.Delivery{Home: home, Body: []byte(body), Received: time.Now()})
		if err != nil || !ok {
			t.Fatalf("%s: %t, %v", body, ok, err)
		}
		return c.ID
	}
	one, other := `{"trigger":"A","source":null}`, `{"trigger":"B","source":null}`
	if again := id(one); again != id(one) || again == id(other) {
		t.Errorf("without an id: %s, %s", id(one), id(other))
	}
	if got := id(`{"id":"a b","trigger":"A"}`); !strings.HasPrefix(got, "box:987:sha256-") {
		t.Errorf("with an id that fits no header: %s", got)
	}
}

func TestTranslateRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": ``, "no JSON": `{"trigger":`, "a list": `[]`, "no trigger": `{"id":"1"}`,
		"a trigger that is no text": `{"trigger":7}`, "an id that is a list": `{"trigger":"A","id":[]}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, ok, err := open(t, testConfig()).Translate(subscriptions.Delivery{Home: home, Body: []byte(text)})
			if ok || !errors.Is(err, subscriptions.ErrUnreadable) {
				t.Errorf("%t, %v", ok, err)
			}
		})
	}
}

// known are the names of the vendor's description: testdata names its source.
func known(t testing.TB) (triggers, types []string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "names.json"))
	if err != nil {
		t.Fatal(err)
	}
	var names struct {
		Triggers []string `json:"triggers"`
		Types    []string `json:"event_types"`
	}
	if err := json.Unmarshal(b, &names); err != nil || len(names.Triggers) != 43 || len(names.Types) != 201 {
		t.Fatalf("%d triggers, %d types, %v", len(names.Triggers), len(names.Types), err)
	}
	return names.Triggers, names.Types
}

// TestOnlyTriggersOfTheVendorAreAskedFor: one that it does not know would have the
// whole webhook refused.
func TestOnlyTriggersOfTheVendorAreAskedFor(t *testing.T) {
	triggers, _ := known(t)
	for _, on := range []string{"folder", "file"} {
		asked := box.TriggersOn(on)
		for _, name := range asked {
			if !slices.Contains(triggers, name) {
				t.Errorf("%s: %s is none of the vendor's", on, name)
			}
			if on == "file" && (strings.HasPrefix(name, "FOLDER.") || strings.HasPrefix(name, "COLLABORATION.")) {
				t.Errorf("%s cannot be asked for on a file", name)
			}
		}
		if !slices.Contains(asked, "SHARED_LINK.CREATED") || slices.Contains(asked, "WEBHOOK.DELETED") {
			t.Errorf("%s: %v", on, asked)
		}
	}
}

func FuzzTranslate(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Body)
	}
	f.Add([]byte(body("COLLABORATION.CREATED", `{"accessible_by":{"type":"user","id":1}}`, `{"before":{}}`)))
	f.Add([]byte(body("FOLDER.MOVED", wholeFile, `{"before":{"type":"folder","id":"1"},"after":[]}`)))
	f.Add([]byte(body("NO_ACTIVE_SESSION", `{"item":{"item":{"item_type":"file","item_id":"\u0000"}}}`, `[]`)))
	f.Add([]byte(`{"trigger":"WEBHOOK.DELETED","webhook":["53"]}`))
	p := open(f, testConfig())
	f.Fuzz(func(t *testing.T, text []byte) {
		d := subscriptions.Delivery{Home: home, Body: text, Received: time.Now()}
		c, ok, err := p.Translate(d)
		from := p.Origin(d)
		if err := events.CheckID(from.Subscription); err != nil && from.Subscription != "" {
			t.Fatal(err)
		}
		if from.Over && err == nil && spell(c.Tags) != "tenant" {
			t.Fatalf("over, and only %q is dropped", spell(c.Tags))
		}
		if err != nil && !errors.Is(err, subscriptions.ErrUnreadable) {
			t.Fatalf("error %v", err)
		}
		if ok == (err != nil) && ok {
			t.Fatal("a change and an error")
		}
		if ok {
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
