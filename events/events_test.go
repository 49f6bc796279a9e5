package events_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/events"
)

var update = flag.Bool("update", false, "write the golden files")

// nasty are ids as vendors may make them.
var nasty = []string{
	"400130394008", "a.b", "a b", "*", ">", "%", "%2E", "a:b", "{x}", "=", "a\nb\tc\x00d\x7f", "Größe/ü",
	"日本語", "\U0001F511", "-_", "..", strings.Repeat(".", events.MaxID), strings.Repeat("ü", events.MaxID/2),
}

func full() events.Change {
	h := events.Home{Provider: "ringcentral", Tenant: "400130394008"}
	return events.Change{
		ID: events.ChangeID(h, "3fa2c1d0-0f2b-4a6e-9c54-1f7c"), Home: h, Source: events.Webhook,
		Tags: []events.Tag{
			events.SubjectTag("400131426008"), events.RoleTag("7"), events.GroupTag("a:b"),
			events.FolderTag("Größe / <11>"), events.AppTag, events.TenantTag,
		},
		Reasons:  []string{"Permissions", "Features"},
		Received: time.Date(2026, 11, 21, 10, 0, 0, 123456789, time.UTC),
		Occurred: time.Date(2026, 11, 21, 9, 59, 59, 0, time.UTC),
	}
}

func minimal() events.Change {
	h := events.Home{Provider: "box", Tenant: "a.b > *"}
	return events.Change{ID: "1", Home: h, Tags: []events.Tag{events.TenantTag}, Source: events.Sweep}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(bytes.TrimSuffix(want, []byte("\n"))), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", name, diff)
	}
}

func TestTheWireFormatStays(t *testing.T) {
	for name, c := range map[string]events.Change{"change_full": full(), "change_minimal": minimal()} {
		t.Run(name, func(t *testing.T) {
			b, err := events.Encode(c)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".golden", b)
			back, err := events.Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c, back); diff != "" {
				t.Errorf("it does not come back (-want +got):\n%s", diff)
			}
			checkCloudEvent(t, b, c)
		})
	}
}

// checkCloudEvent reads the bytes with another implementation.
func checkCloudEvent(t *testing.T, b []byte, c events.Change) {
	t.Helper()
	var e cloudevents.Event
	if err := e.UnmarshalJSON(b); err != nil {
		t.Fatal(err)
	}
	if err := e.Validate(); err != nil {
		t.Error(err)
	}
	got := []string{e.ID(), e.Type(), e.Subject(), e.DataContentType(), e.Time().UTC().String()}
	want := []string{c.ID, events.ChangeType, string(c.Tenant), "application/json", c.Received.String()}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	var data struct{ Provider, Tenant string }
	if err := e.DataAs(&data); err != nil || data.Provider != string(c.Provider) {
		t.Errorf("data = %+v, %v", data, err)
	}
}

func TestDecodeTakesWhatANewerWriterAdds(t *testing.T) {
	b := `{"specversion":"1.0","id":"1","source":"/x","type":"com.rescindhq.change.v1","traceparent":"00-1",
		"time":"2026-11-21T12:00:00+02:00","data":{"provider":"p","tenant":"t","tags":["team:9"],
		"source":"telepathy","more":{"a":1}}}`
	c, err := events.Decode([]byte(b))
	if err != nil {
		t.Fatal(err)
	}
	want := events.Change{
		ID: "1", Home: events.Home{Provider: "p", Tenant: "t"}, Tags: []events.Tag{{Kind: "team", ID: "9"}},
		Source: "telepathy", Received: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC),
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	const head = `{"specversion":"1.0","id":"1","source":"/x","type":"com.rescindhq.change.v1","data":`
	const data = `{"provider":"p","tenant":"t","tags":["tenant"]}`
	for name, c := range map[string]struct{ in, want string }{
		"nothing":               {``, "envelope"},
		"no JSON":               {`perm`, "envelope"},
		"another version":       {strings.Replace(head, `"1.0"`, `"2.0"`, 1) + data + `}`, "specversion"},
		"another type":          {strings.Replace(head, `.v1`, `.v2`, 1) + data + `}`, "com.rescindhq.change.v2"},
		"data that is not JSON": {head + data + `,"datacontenttype":"text/xml"}`, "not JSON"},
		"no data":               {head + `null}`, "provider"},
		"an empty id":           {strings.Replace(head, `"id":"1"`, `"id":""`, 1) + data + `}`, "change id"},
		"no tags":               {head + `{"provider":"p","tenant":"t","tags":[]}}`, "0 tags"},
		"a tag without an id":   {head + `{"provider":"p","tenant":"t","tags":["role"]}}`, "no id"},
		"no tenant":             {head + `{"provider":"p","tags":["tenant"]}}`, "tenant"},
		"a time that is none":   {head + data + `,"time":"yesterday"}`, "time"},
		"a time nobody writes":  {head + data + `,"time":"9999-12-31T23:59:59-01:00"}`, "year"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := events.Decode([]byte(c.in))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not say %q", err, c.want)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*events.Change){
		"no id":              func(c *events.Change) { c.ID = "" },
		"no provider":        func(c *events.Change) { c.Provider = "" },
		"a tenant too long":  func(c *events.Change) { c.Tenant = events.Tenant(strings.Repeat("x", 257)) },
		"a tenant not UTF-8": func(c *events.Change) { c.Tenant = "\xff" },
		"no tags":            func(c *events.Change) { c.Tags = nil },
		"too many tags":      func(c *events.Change) { c.Tags = make([]events.Tag, events.MaxTags+1) },
		"a tag of no kind":   func(c *events.Change) { c.Tags[0].Kind = "" },
		"an id not UTF-8":    func(c *events.Change) { c.ID = "\xff" },
		"a year too late":    func(c *events.Change) { c.Received = time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		t.Run(name, func(t *testing.T) {
			c := full()
			spoil(&c)
			if b, err := events.Encode(c); err == nil {
				t.Errorf("encoded as %.80s", b)
			}
		})
	}
}

func TestManyTagsFitOneChange(t *testing.T) {
	c := minimal()
	c.Tags = nil
	for i := range events.MaxTags {
		c.Tags = append(c.Tags, events.SubjectTag(events.Subject(fmt.Sprint(400131426008+i))))
	}
	b, err := events.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	back, err := events.Decode(b)
	if err != nil || len(back.Tags) != events.MaxTags {
		t.Fatalf("%d tags, %v", len(back.Tags), err)
	}
	if const1MB := 1 << 20; len(b) > const1MB {
		t.Errorf("%d bytes: more than a server takes by default", len(b))
	}
}

func TestChangeIDsOfTwoTenantsDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, p := range nasty {
		for _, tenant := range nasty {
			id := events.ChangeID(events.Home{Provider: events.Provider(p), Tenant: events.Tenant(tenant)}, "1")
			if other, ok := seen[id]; ok {
				t.Fatalf("%q and %q/%q share %q", other, p, tenant, id)
			}
			seen[id] = p + "/" + tenant
		}
	}
}

func TestCheckID(t *testing.T) {
	for name, c := range map[string]struct {
		id string
		ok bool
	}{
		"one byte": {"a", true}, "256 bytes": {strings.Repeat("a", 256), true}, "a NUL": {"\x00", true},
		"empty": {"", false}, "257 bytes": {strings.Repeat("a", 257), false}, "not UTF-8": {"a\xff", false},
	} {
		t.Run(name, func(t *testing.T) {
			err := events.CheckID(c.id)
			if (err == nil) != c.ok || err != nil && !errors.Is(err, events.ErrID) {
				t.Errorf("CheckID = %v", err)
			}
		})
	}
}

func TestRefValidateNamesThePart(t *testing.T) {
	for want, r := range map[string]events.Ref{
		"provider": {},
		"tenant":   {Home: events.Home{Provider: "p"}},
		"subject":  {Home: events.Home{Provider: "p", Tenant: "t"}},
		"resource": {Home: events.Home{Provider: "p", Tenant: "t"}, Subject: "s", Resource: "\xff"},
	} {
		if err := r.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v, want it to name the %s", r, err, want)
		}
	}
}

func TestTagText(t *testing.T) {
	for text, want := range map[string]events.Tag{
		"subject:42": events.SubjectTag("42"), "role:a:b": events.RoleTag("a:b"), "app": events.AppTag,
		"tenant": events.TenantTag, "team-x:9": {Kind: "team-x", ID: "9"},
	} {
		got, err := events.ParseTag(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("ParseTag(%q) = %+v (%q), %v", text, got, got, err)
		}
	}
	for _, text := range []string{
		"", ":", ":1", "role", "role:", "Role:1", "r2:1", "app:", strings.Repeat("k", 33) + ":1", "role:\xff",
	} {
		if got, err := events.ParseTag(text); err == nil {
			t.Errorf("ParseTag(%q) = %+v, want an error", text, got)
		}
	}
}
