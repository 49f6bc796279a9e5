package ringcentral_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

const listPath = "/restapi/v1.0/account/37439510/extension"

func delivery(body string) subscriptions.Delivery {
	return subscriptions.Delivery{Home: home, Body: []byte(body), Received: time.Unix(1_800_000_000, 0).UTC()}
}

// note writes a notification.
func note(event, body string) string {
	return fmt.Sprintf(`{"uuid":"u-1","event":%q,"timestamp":"2026-06-14T12:00:00.000Z","subscriptionId":"s-1",
		"ownerId":"900","body":%s}`, event, body)
}

// translations: what a notification is, and the tags that come of it.
var translations = map[string]struct{ body, want string }{
	"a batch": {note(listPath, `{"extensions":[{"extensionId":"1","eventType":"Delete"},
			{"extensionId":"2","eventType":"Create"},
			{"extensionId":3,"eventType":"Update","hints":["Permissions"]}]}`),
		"subject:1 subject:2 subject:3"},
	"the same extension twice": {note(listPath, `{"extensions":[{"extensionId":"1","eventType":"Update"},
			{"extensionId":1,"eventType":"Delete"}]}`), "subject:1"},
	"an empty batch": {note(listPath, `{"extensions":[]}`), ""},
	"the flat form": {
		note(listPath, `{"extensionId":"5","eventType":"Update","ownerId":"9"}`), "subject:5",
	},
	"the flat form with a number": {
		note(listPath, `{"extensionId":5,"eventType":"Create"}`), "subject:5",
	},
	"a list event with a query": {note(listPath+"?x=1", `{"extensionId":"5"}`), "subject:5"},
	"a list event with ~": {
		note("/restapi/v1.0/account/~/extension", `{"extensionId":"5"}`), "subject:5",
	},
	"a list event that names nobody": {note(listPath, `{}`), "tenant"},
	"a list event without a body":    {`{"uuid":"u-1","event":"` + listPath + `"}`, "tenant"},
	"a nameless member of a batch": {
		note(listPath, `{"extensions":[{"eventType":"Update"}]}`), "tenant",
	},
	"an info event": {
		note(listPath+"/42", `{"extensionId":"42","eventType":"Update","hints":["Limits"]}`), "subject:42",
	},
	"an info event named by path": {note(listPath+"/42", `{}`), "subject:42"},
	"an info event of null":       {note(listPath+"/42", `null`), "subject:42"},
	"an info event that names two": {
		note(listPath+"/42", `{"extensionId":"43"}`), "subject:43 subject:42",
	},
	"an info event of ~ is the owner's": {
		note("/restapi/v1.0/account/~/extension/~", `{}`), "subject:900",
	},
	"the owner stands in the body": {
		note("/restapi/v1.0/account/~/extension/~", `{"ownerId":901}`), "subject:901",
	},
	"~ without an owner":             {`{"event":"/restapi/v1.0/account/~/extension/~"}`, "tenant"},
	"features":                       {update(`["Features"]`), "subject:42"},
	"an unknown hint":                {update(`["SomethingNew"]`), "subject:42"},
	"no hints":                       {update(`[]`), "subject:42"},
	"hints null":                     {update(`null`), "subject:42"},
	"a single hint without its list": {update(`"Permissions"`), "subject:42"},
	"irrelevant hints": {
		update(`["CallQueueMembersChange","CompanyNumbers","DialingPlan","AnsweringRules","ProfileImage"]`), "",
	},
	"a single irrelevant hint":          {update(`"ProfileImage"`), ""},
	"an irrelevant hint among relevant": {update(`["ProfileImage","ExtensionInfo"]`), "subject:42"},
	"a deletion with irrelevant hints": {
		note(listPath, `{"extensionId":"42","eventType":"Delete","hints":["ProfileImage"]}`), "subject:42",
	},
	"an unknown type of event": {
		note(listPath, `{"extensionId":"42","eventType":"Moved","hints":["ProfileImage"]}`), "subject:42",
	},
	"the account's status":   {update(`["AccountStatus","Permissions"]`), "tenant"},
	"the account's settings": {update(`["AccountSettings"]`), "tenant"},
	"account and others in one batch": {
		note(listPath, `{"extensions":[{"extensionId":"1"},
			{"extensionId":"2","hints":["AccountSettings"]}]}`), "tenant",
	},
	"delegation grants": {note(listPath+"/42/grant", `{"extensionId":"42"}`), ""},
	"the directory": {
		note("/restapi/v1.0/account/37439510/directory/entries", `{"contacts":[{"id":"42"}]}`), "",
	},
	"a reminder": {
		note("/restapi/v1.0/subscription/~?threshold=86400&interval=3600", `{"expiresIn":80000}`), "",
	},
	"an event that was never asked for": {note(listPath+"/42/presence", `{}`), ""},
	"another family of events":          {note("/restapi/v1.0/glip/posts", `{}`), ""},
	"no body at all, a handshake":       {"", ""},
	"more than fit into one change": {
		note(listPath, `{"extensions":[`+many(events.MaxTags+1)+`]}`), "tenant",
	},
	"as many as fit into one change": {
		note(listPath, `{"extensions":[`+many(events.MaxTags)+`]}`), many20000(),
	},
	"the same one more often than fit": {
		note(listPath, `{"extensions":[`+strings.Repeat(`{"extensionId":1},`, events.MaxTags)+
			`{"extensionId":1}]}`), "subject:1",
	},
	"an id of the longest kind": {
		note(listPath, `{"extensionId":"`+strings.Repeat("x", 256)+`"}`), "subject:" + strings.Repeat("x", 256),
	},
	"an id with what a subject may hold": {note(listPath, `{"extensionId":"a.*>:é"}`), "subject:a.*>:é"},
}

// update is a batch of one with these hints.
func update(hints string) string {
	return note(listPath, `{"extensions":[{"extensionId":"42","eventType":"Update","hints":`+hints+`}]}`)
}

func TestTranslate(t *testing.T) {
	for name, c := range translations {
		t.Run(name, func(t *testing.T) {
			got, ok, err := open(t, testConfig()).Translate(delivery(c.body))
			if err != nil {
				t.Fatalf("error %v", err)
			}
			if ok != (c.want != "") || spell(got.Tags) != c.want {
				t.Errorf("got %.200q %v, want %.200q", spell(got.Tags), ok, c.want)
			}
			if !ok {
				return
			}
			if _, err := events.Encode(got); err != nil {
				t.Errorf("encode: %v", err)
			}
		})
	}
}

func spell(tags []events.Tag) string {
	var s []string
	for _, t := range tags {
		s = append(s, t.String())
	}
	return strings.Join(s, " ")
}

func many(n int) string {
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprintf(`{"extensionId":"%d"}`, i+1)
	}
	return strings.Join(s, ",")
}

func many20000() string {
	s := make([]string, events.MaxTags)
	for i := range s {
		s[i] = fmt.Sprintf("subject:%d", i+1)
	}
	return strings.Join(s, " ")
}

func TestTranslateWhole(t *testing.T) {
	got, ok, err := open(t, testConfig()).Translate(delivery(
		update(`["Permissions","Features"]`)))
	want := events.Change{
		ID: "ringcentral:37439510:u-1", Home: home, Tags: []events.Tag{events.SubjectTag("42")},
		Source: events.Webhook, Reasons: []string{"Update", "Permissions", "Features"},
		Received: time.Unix(1_800_000_000, 0).UTC(), Occurred: time.Date(2026, 6, 14, 12, 0, 0, 0, time.UTC),
	}
	if err != nil || !ok {
		t.Fatalf("ok %v, error %v", ok, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("change (-want +got):\n%s", diff)
	}
}

func TestTranslateTimesAndIDs(t *testing.T) {
	const twelve = "2026-06-14T12:00:00Z"
	for name, c := range map[string]struct{ uuid, timestamp, wantID, wantTime string }{
		"RFC 3339":                      {`"u"`, `"2026-06-14T12:00:00.000Z"`, "u", twelve},
		"an offset without a colon":     {`"u"`, `"2026-06-14T14:00:00.000+0200"`, "u", twelve},
		"no time":                       {`"u"`, `""`, "u", ""},
		"another form of time":          {`"u"`, `"yesterday"`, "u", ""},
		"a year of five digits":         {`"u"`, `"9999-12-31T23:59:59.000-0100"`, "u", ""},
		"a number for an id":            {`17`, `""`, "17", ""},
		"no id":                         {`null`, `""`, "sha256-", ""},
		"an id that splits a header":    {`"a\r\nb"`, `""`, "sha256-", ""},
		"an id beyond what is accepted": {`"` + strings.Repeat("a", 257) + `"`, `""`, "sha256-", ""},
	} {
		t.Run(name, func(t *testing.T) {
			body := fmt.Sprintf(`{"uuid":%s,"timestamp":%s,"event":%q,"body":{"extensionId":"1"}}`,
				c.uuid, c.timestamp, listPath)
			got, ok, err := open(t, testConfig()).Translate(delivery(body))
			if err != nil || !ok {
				t.Fatalf("ok %v, error %v", ok, err)
			}
			if !strings.HasPrefix(got.ID, "ringcentral:37439510:"+c.wantID) {
				t.Errorf("id %q, want %q", got.ID, c.wantID)
			}
			if when := formatted(got.Occurred); when != c.wantTime {
				t.Errorf("occurred %q, want %q", when, c.wantTime)
			}
			if _, err := events.Encode(got); err != nil {
				t.Errorf("encode: %v", err)
			}
		})
	}
}

func formatted(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

func TestTranslateRefuses(t *testing.T) {
	for name, body := range map[string]string{
		"no JSON":                     `{`,
		"JSON of another kind":        `[]`,
		"no event":                    `{}`,
		"a path that is none":         note("hello", `{}`),
		"another account":             note("/restapi/v1.0/account/1/extension", `{"extensionId":"42"}`),
		"another account's extension": note("/restapi/v1.0/account/1/extension/42", `{}`),
		"an id that is too long":      note(listPath, `{"extensionId":"`+strings.Repeat("x", 257)+`"}`),
		"an id that is a fraction":    note(listPath, `{"extensionId":1.5}`),
		"an id with an exponent":      note(listPath, `{"extensionId":1e3}`),
		"an id that is an object":     note(listPath, `{"extensionId":{}}`),
		"a batch that is no list":     note(listPath, `{"extensions":{}}`),
		"hints of numbers":            note(listPath, `{"extensionId":"1","hints":[1]}`),
	} {
		t.Run(name, func(t *testing.T) {
			got, ok, err := open(t, testConfig()).Translate(delivery(body))
			if !errors.Is(err, subscriptions.ErrUnreadable) || ok {
				t.Errorf("got %v %v, error %v", got, ok, err)
			}
		})
	}
}

func FuzzTranslate(f *testing.F) {
	for _, body := range []string{
		note(listPath, `{"extensions":[{"extensionId":"1","eventType":"Update","hints":["Permissions"]}]}`),
		note(listPath+"/42", `{"extensionId":42,"hints":"x"}`),
		`{"uuid":1,"event":"/restapi/v1.0/account/~/extension/~","ownerId":7,"body":null}`,
		`{"timestamp":"2014-04-29T14:29:27.408+0000","event":"/restapi/v1.0/subscription/~?threshold=1"}`,
		`{"uuid":["` + doorSecret + `"],"event":"` + listPath + `"}`,
		`{"uuid":` + strings.Repeat("9", 2000) + `.5}`, `{"event":` + strings.Repeat("9", 2000) + `}`,
		`{"event":"` + listPath + `","event":"/restapi/v1.0/account/1/extension","uuid":"` + "ÿ" + `"}`,
	} {
		f.Add([]byte(body))
	}
	for _, c := range origins {
		f.Add([]byte(c.body))
	}
	p := open(f, testConfig())
	f.Fuzz(func(t *testing.T, body []byte) {
		d := subscriptions.Delivery{Home: home, Body: body, Received: time.Unix(1, 0)}
		if o := p.Origin(d); o.Over || o.Subscription != "" && events.CheckID(o.Subscription) != nil {
			t.Errorf("origin %+v", o)
		}
		c, ok, err := p.Translate(d)
		modest(t, err)
		if err != nil {
			if !errors.Is(err, subscriptions.ErrUnreadable) || ok {
				t.Fatalf("ok %v, error %v", ok, err)
			}
			return
		}
		if !ok {
			return
		}
		b, err := events.Encode(c)
		if err != nil {
			t.Fatalf("encode: %v", err)
		}
		back, err := events.Decode(b)
		if err != nil || back.ID != c.ID || len(back.Tags) != len(c.Tags) {
			t.Fatalf("decode: %+v, %v", back, err)
		}
	})
}
