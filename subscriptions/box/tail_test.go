package box_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/box"
)

// at answers the events call: by the stream, then its position, a page.
func (w *world) at(pages map[string]string) {
	w.vendor.on("GET /events", func(rw http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		page, ok := pages[q.Get("stream_type")+" "+q.Get("stream_position")]
		if !ok {
			page = fmt.Sprintf(`{"entries":[],"next_stream_position":%q}`, q.Get("stream_position"))
		}
		reply(rw, 200, page)
	})
}

const (
	stream = "admin_logs_streaming "
	logs   = "admin_logs "
	start  = "18014398509481987" // above 2^53, where a float64 has lost it
)

func page(next string, entries ...string) string {
	return `{"chunk_size":1,"next_stream_position":` + next + `,"entries":[` + strings.Join(entries, ",") + `]}`
}

// event is one of user 7's doing, who is never the subject.
func event(id, kind, source, more string) string {
	return fmt.Sprintf(`{"type":"event","event_id":%q,"event_type":%q,"created_at":"2025-02-24T08:10:18-08:00",
		"created_by":{"type":"user","id":"7"},"action_by":null,"source":%s%s}`, id, kind, source, more)
}

// poll polls from a cursor and spells the changes.
func (w *world) poll(t *testing.T, cursor []byte) (changes []string, next []byte) {
	t.Helper()
	found, next, err := w.Poll(t.Context(), cursor)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range found {
		if err := c.Validate(); err != nil || c.Source != events.Tail {
			t.Errorf("change %+v: %v", c, err)
		}
		changes = append(changes, strings.TrimPrefix(c.ID, "box:987:")+" "+spell(c.Tags))
	}
	return changes, next
}

// begun is a cursor at start.
func (w *world) begun(t *testing.T) []byte {
	t.Helper()
	w.at(map[string]string{stream + "now": page(start)})
	changes, cursor := w.poll(t, nil)
	if len(changes) != 0 || !strings.Contains(string(cursor), `"`+start+`"`) {
		t.Fatalf("the first poll: %v, cursor %s", changes, cursor)
	}
	return cursor
}

// TestEveryTypeOfTheVendorIsInTheTable, once. Only what is not there is for everyone
// although it was never thought about.
func TestEveryTypeOfTheVendorIsInTheTable(t *testing.T) {
	_, types := known(t)
	for _, name := range types {
		whom, listed := box.Concerned(name)
		if !listed {
			t.Errorf("%s is not listed once: %s", name, whom)
		}
	}
	for name, want := range map[string]string{
		"CHANGE_ADMIN_ROLE": "the user", "GROUP_ADD_USER": "the user", "GROUP_DELETION": "the members",
		"COLLABORATION_REMOVE": "who holds", "MOVE": "where it was", "DELETE": "who may use the item",
		"ENTERPRISE_APP_AUTHORIZATION_UPDATE": "the app", "SHIELD_ACCESS_POLICY_UPDATED": "everyone",
		"EXTERNAL_COLLAB_SECURITY_SETTINGS": "everyone", "DOWNLOAD": "nobody", "PREVIEW": "nobody",
		"LOGIN": "nobody", "USER_AUTHENTICATE_OAUTH2_ACCESS_TOKEN_CREATE": "nobody",
		"SOMETHING_OF_TOMORROW": "everyone",
	} {
		if whom, _ := box.Concerned(name); !strings.Contains(whom, want) {
			t.Errorf("%s is for %s, want %s", name, whom, want)
		}
	}
}

func TestWhomEventsConcern(t *testing.T) {
	const (
		user   = `{"type":"user","id":"2","name":"Member","login":"m@example.com"}`
		group9 = `,"additional_details":{"group_id":"9","group_name":"Support"}`
		collab = `{"folder_id":"30","user_id":"2","parent":{"type":"folder","id":"23"},
			"owned_by":{"type":"user","id":"3"}}`
		byUser = `,"accessible_by":{"type":"user","id":"2"},"additional_details":{"role":"Editor","collab_id":"11"}`
		byGrp  = `,"accessible_by":{"type":"group","id":"9"},"additional_details":{"role":"Viewer"}`
		folder = `{"item_type":"folder","item_id":"30","item_name":"x","parent":{"type":"folder","id":"23"}}`
		file   = `{"type":"file","id":"12","parent":{"type":"folder","id":"0"}}`
	)
	for name, c := range map[string]struct{ kind, source, more, want string }{
		"a role":                         {"CHANGE_ADMIN_ROLE", user, "", "subject:2"},
		"a user deleted":                 {"DELETE_USER", `{"type":"user","id":"2"}`, "", "folder:0 subject:2"},
		"a user, nobody says which":      {"EDIT_USER", `null`, "", "tenant"},
		"a user in another shape":        {"EDIT_USER", `"2"`, "", "tenant"},
		"a member":                       {"GROUP_ADD_USER", user, group9, "subject:2"},
		"a member that is not named":     {"GROUP_ADD_USER", `null`, group9, "tenant"},
		"a group as a source":            {"GROUP_EDITED", `{"type":"group","id":"9"}`, "", "group:9"},
		"a group in the details":         {"GROUP_DELETION", `null`, group9, "group:9"},
		"a group that is not named":      {"GROUP_EDITED", `null`, "", "tenant"},
		"an item for a group":            {"GROUP_ADD_ITEM", folder, group9, "group:9"},
		"an item for a group, not named": {"GROUP_ADD_ITEM", folder, "", "tenant"},
		"a group's admin":                {"GROUP_ADMIN_CREATED", user, group9, "subject:2"},
		"a collaboration of a user":      {"COLLABORATION_INVITE", collab, byUser, "subject:2"},
		"of a group":                     {"COLLABORATION_REMOVE", collab, byGrp, "group:9"},
		"of a user told in the source":   {"COLLABORATION_REMOVE", collab, "", "subject:2"},
		"of nobody registered": {"COLLABORATION_INVITE",
			`{"file_id":"12","user_email":"a@b.example"}`, "", "file:12"},
		"of a new owner": {"COLLABORATION_ROLE_CHANGE", collab,
			`,"additional_details":{"role":"Owner"}`, "folder:0 folder:30 subject:2"},
		"of nothing":            {"COLLABORATION_INVITE", `null`, "", "tenant"},
		"an item moved":         {"MOVE", folder, "", "folder:0 folder:23 folder:30"},
		"an item restored":      {"UNDELETE", file, "", "file:12 folder:0"},
		"an item trashed":       {"DELETE", file, "", "file:12"},
		"a folder's settings":   {"CHANGE_FOLDER_PERMISSION", folder, "", "folder:0 folder:30"},
		"a link":                {"UNSHARE", folder, "", "folder:0 folder:30"},
		"a link to a weblink":   {"SHARE", `{"item_type":"web_link","item_id":"5"}`, "", "tenant"},
		"a hold on a policy":    {"LEGAL_HOLD_POLICY_UPDATE", `{"type":"policy","id":"4"}`, "", "tenant"},
		"the app":               {"ENTERPRISE_APP_AUTHORIZATION_UPDATE", `{}`, "", "app"},
		"a barrier":             {"SHIELD_INFORMATION_BARRIER_ENABLED", `{"barrier_id":1}`, "", "tenant"},
		"a justification":       {"SHIELD_JUSTIFICATION_APPROVAL", `null`, "", "tenant"},
		"a download":            {"DOWNLOAD", file, "", ""},
		"a login":               {"LOGIN", user, "", ""},
		"something of tomorrow": {"ITEM_FROZEN", file, "", "tenant"},
		"something of tomorrow, no shape": {"ITEM_FROZEN", `[[]]`,
			`,"additional_details":7,"accessible_by":[]`, "tenant"},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, testConfig())
			cursor := w.begun(t)
			w.at(map[string]string{stream + start: page(`"18014398509481988"`, event("e1", c.kind, c.source, c.more))})
			var want []string
			if c.want != "" {
				want = []string{"e1 " + c.want}
			}
			if got, _ := w.poll(t, cursor); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// TestTheCursor: it moves by pages with events only, stays text, and duplicates
// and disorder change nothing.
func TestTheCursor(t *testing.T) {
	w := open(t, testConfig())
	cursor := w.begun(t)
	one := event("e1", "EDIT_USER", `{"type":"user","id":"1"}`, "")
	two := event("e2", "EDIT_USER", `{"type":"user","id":"2"}`, "")
	three := event("e3", "EDIT_USER", `{"type":"user","id":"3"}`, "")

	w.at(map[string]string{stream + start: page("0")}) // the beginning of all, on an empty page
	got, next := w.poll(t, cursor)
	if len(got) != 0 || !slices.Equal(next, cursor) {
		t.Errorf("an empty page: %q, cursor %s", got, next)
	}
	w.at(map[string]string{
		stream + start:               page("18014398509481989", two, one),
		stream + "18014398509481989": page(`"18014398509481990"`, three, two),
		stream + "18014398509481990": page(`0`),
	})
	got, next = w.poll(t, cursor)
	if len(got) != 2 || !strings.HasSuffix(got[0], " subject:1 subject:2") || got[1] != "e3 subject:3" ||
		!strings.Contains(string(next), `"18014398509481990"`) {
		t.Errorf("two pages: %q, cursor %s", got, next)
	}
	if again, _ := w.poll(t, cursor); !slices.Equal(again, got) {
		t.Errorf("a second look from the same cursor: %q", again)
	}
}

// TestAPollReadsNoMoreThanItsPages: what is left comes with the next one.
func TestAPollReadsNoMoreThanItsPages(t *testing.T) {
	w := open(t, testConfig())
	cursor := w.begun(t)
	n := 0
	w.vendor.on("GET /events", func(rw http.ResponseWriter, _ *http.Request) {
		n++
		reply(rw, 200, page(fmt.Sprint(1000+n), event(fmt.Sprint(n), "EDIT_USER", `{"type":"user","id":"2"}`, "")))
	})
	got, next := w.poll(t, cursor)
	if len(got) != 10 || !strings.Contains(string(next), `"1010"`) {
		t.Errorf("%d changes, cursor %s", len(got), next)
	}
	if got, _ = w.poll(t, next); len(got) != 10 || !strings.HasPrefix(got[0], "11 ") {
		t.Errorf("then %d changes", len(got))
	}
}

func TestWhatCameBeforeAFailureIsKept(t *testing.T) {
	w := open(t, testConfig())
	cursor := w.begun(t)
	w.vendor.on("GET /events", func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("stream_position") != start {
			rw.Header().Set("Retry-After", "30")
			reply(rw, 429, `{"code":"rate_limit_exceeded"}`)
			return
		}
		reply(rw, 200, page("77", event("e1", "EDIT_USER", `{"type":"user","id":"2"}`, "")))
	})
	got, next := w.poll(t, cursor)
	if len(got) != 1 || !strings.Contains(string(next), `"77"`) {
		t.Errorf("%q, cursor %s", got, next)
	}
	var later *subscriptions.Later
	if _, _, err := w.Poll(t.Context(), next); !errors.As(err, &later) {
		t.Errorf("then %v", err)
	}
}

// TestAWayTooLong: the stream does not keep what was missed, so the tenant is
// dropped and the logs name it, while the stream goes on.
func TestAWayTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, testConfig())
		cursor := w.begun(t)
		left := time.Now()
		time.Sleep(15 * 24 * time.Hour)
		w.at(map[string]string{stream + "now": page("500")})
		got, next := w.poll(t, cursor)
		again, _ := w.poll(t, cursor)
		if len(got) != 1 || !strings.HasSuffix(got[0], " tenant") || !slices.Equal(again, got) {
			t.Errorf("coming back: %q, then %q", got, again)
		}
		var after string
		pages := map[string]string{
			stream + "500": page("501", event("new", "EDIT_USER", `{"type":"user","id":"9"}`, "")),
			logs:           page("301", event("e1", "EDIT_USER", `{"type":"user","id":"1"}`, "")),
			logs + "301":   page("302", event("e2", "EDIT_USER", `{"type":"user","id":"2"}`, "")),
		}
		w.at(pages)
		plain := w.vendor.routes["GET /events"]
		w.vendor.on("GET /events", func(rw http.ResponseWriter, r *http.Request) {
			if q := r.URL.Query(); q.Get("stream_type") == "admin_logs" {
				after = q.Get("created_after")
			}
			plain(rw, r)
		})
		got, next = w.poll(t, next)
		if want := []string{"new subject:9", "e1 subject:1", "e2 subject:2"}; !slices.Equal(got, want) {
			t.Errorf("what was missed: %q", got)
		}
		if at, err := time.Parse(time.RFC3339, after); err != nil || at.After(left) || left.Sub(at) > 2*time.Hour {
			t.Errorf("asked for what came after %s, left at %s", after, left)
		}
		_, next = w.poll(t, next)
		// What happened just before the return may appear in the logs later.
		time.Sleep(time.Minute)
		pages[logs+"302"] = page("303", event("e3", "EDIT_USER", `{"type":"user","id":"3"}`, ""))
		if got, next = w.poll(t, next); !slices.Equal(got, []string{"e3 subject:3"}) {
			t.Errorf("what came late: %q", got)
		}
		time.Sleep(2 * time.Minute)
		_, next = w.poll(t, next)
		if strings.Contains(string(next), "missed") {
			t.Errorf("still looking: %s", next)
		}
	})
}

func TestACursorThatCannotBeReadDropsTheTenant(t *testing.T) {
	for _, cursor := range []string{"?", "{}", `{"v":2,"position":"7","at":"2026-01-01T00:00:00Z"}`,
		`{"v":1,"position":"0","at":"2026-01-01T00:00:00Z"}`,
		`{"v":1,"position":"7","at":"0001-01-01T00:00:00Z"}`} {
		w := open(t, testConfig())
		w.at(map[string]string{stream + "now": page("500")})
		got, next := w.poll(t, []byte(cursor))
		if len(got) != 1 || !strings.HasSuffix(got[0], " tenant") || strings.Contains(string(next), "missed") {
			t.Errorf("%s: %q, cursor %s", cursor, got, next)
		}
	}
}

func TestPollErrors(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		is     error
	}{
		"not allowed": {403, `{"code":"access_denied_insufficient_permissions"}`,
			subscriptions.ErrMisconfigured},
		"no entries":     {200, `{"next_stream_position":1}`, nil},
		"no position":    {200, `{"entries":[]}`, nil},
		"a bad position": {200, `{"entries":[],"next_stream_position":1.5}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := open(t, testConfig())
				w.vendor.says("GET /events", c.status, c.body)
				got, next, err := w.Poll(t.Context(), nil)
				if err == nil || got != nil || next != nil || c.is != nil && !errors.Is(err, c.is) {
					t.Errorf("%v, %s, %v", got, next, err)
				}
				noSecret(t, fmt.Sprint(err))
			})
		})
	}
}

func TestIntervalAndDelay(t *testing.T) {
	c := testConfig()
	if w := open(t, c); w.Interval() != 12*time.Second || w.Delay() != 45200*time.Millisecond {
		t.Errorf("default: %s, %s", w.Interval(), w.Delay())
	}
	c.EventPoll = time.Minute
	if w := open(t, c); w.Interval() != time.Minute || w.Delay() != 98*time.Second {
		t.Errorf("a minute: %s, %s", w.Interval(), w.Delay())
	}
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte(page("2", event("e", "MOVE", wholeFile, ""))))
	f.Add([]byte(page(`"18014398509481988"`, event("e", "GROUP_ADD_USER", `null`, `,"additional_details":[]`))))
	f.Add([]byte(`{"entries":[{"event_id":7,"event_type":"","source":{"parent":{"parent":{}}}}],
		"next_stream_position":null}`))
	w := open(f, testConfig())
	cursor, err := json.Marshal(map[string]any{"v": 1, "position": "1", "at": time.Now()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		asked := 0
		w.vendor.on("GET /events", func(rw http.ResponseWriter, _ *http.Request) {
			if asked++; asked > 1 {
				reply(rw, 200, `{"entries":[],"next_stream_position":0}`)
				return
			}
			rw.WriteHeader(200)
			_, _ = rw.Write(text)
		})
		ctx, cancel := context.WithTimeout(t.Context(),
			500*time.Millisecond) // a malformed reply is tried again only after 2 s
		defer cancel()
		changes, _, err := w.Poll(ctx, cursor)
		if err != nil && changes != nil {
			t.Fatal("changes and an error")
		}
		for _, c := range changes {
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add([]byte(`{"v":1,"position":"7","at":"2026-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"v":1,"position":"7","at":"2026-01-01T00:00:00Z","missed":{"after":"2026-01-01T00:00:00Z"}}`))
	w := open(f, testConfig())
	w.at(map[string]string{stream + "now": page("500")})
	f.Fuzz(func(t *testing.T, cursor []byte) {
		_, next, err := w.Poll(t.Context(), cursor)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.Poll(t.Context(), next); err != nil {
			t.Fatalf("the cursor made of it: %v", err)
		}
	})
}
