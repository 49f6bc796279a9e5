package boxsim_test

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rescindhq/rescind/subscriptions/sim/boxsim"
)

// noise are the events that tokens cause.
const noise = "USER_AUTHENTICATE_OAUTH2_ACCESS_TOKEN_CREATE"

// poll reads one page; it returns the entries without noise, and the cursor as text.
func (w *world) poll(t testing.TB, token, stream, at, more string) (page []map[string]any, next string) {
	t.Helper()
	a := w.get(t, token, "/events?stream_type="+stream+"&stream_position="+at+more).want(t, 200, "")
	list, _ := a.json["entries"].([]any)
	if text(a.json["chunk_size"]) != strconv.Itoa(len(list)) {
		t.Errorf("chunk_size of %d: %s", len(list), a.raw)
	}
	for _, e := range list {
		if m, _ := e.(map[string]any); text(m["event_type"]) != noise {
			page = append(page, m)
		}
	}
	return page, text(a.json["next_stream_position"])
}

func kinds(events []map[string]any) string {
	var all []string
	for _, e := range events {
		all = append(all, text(e["event_type"]))
	}
	return strings.Join(all, " ")
}

// TestEveryChangeIsAnEvent says which, and where the subject is found.
func TestEveryChangeIsAnEvent(t *testing.T) {
	w := start(t, boxsim.Options{Quirks: boxsim.Quirks{TidyEvents: true}})
	token := w.service(t)
	const u, g = boxsim.MemberUser, boxsim.GroupSales
	var collab, file string
	for _, c := range []struct {
		name    string
		do      func() error
		want    string
		subject []string
		is      string
	}{
		{"role", func() error { return w.SetRole(u, "coadmin") }, "CHANGE_ADMIN_ROLE", []string{"source", "id"}, u},
		{"status", func() error { return w.SetStatus(u, "cannot_delete_edit") }, "EDIT_USER",
			[]string{"source", "id"}, u},
		{"flag", func() error { return w.SetExternalCollab(u, false) }, "EDIT_USER", []string{"source", "id"}, u},
		{"no change", func() error { return w.SetExternalCollab(u, false) }, "", nil, ""},
		{"new user", func() error { _, err := w.AddUser(boxsim.User{ID: "77", Name: "N"}); return err }, "NEW_USER",
			[]string{"source", "login"}, "n@acme.example"},
		{"rolled out", func() error { return w.RollOut("77") }, "EDIT_USER", []string{"source", "id"}, "77"},
		{"deleted", func() error { return w.DeleteUser("77", false) }, "DELETE_USER",
			[]string{"source", "id"}, "77"},
		{"group", func() error { w.AddGroup(boxsim.Group{ID: "13", Name: "N"}); return nil }, "GROUP_CREATION",
			[]string{"additional_details", "group_id"}, "13"},
		{"group edited", func() error { w.AddGroup(boxsim.Group{ID: "13", Name: "M"}); return nil }, "GROUP_EDITED",
			[]string{"source", "name"}, "M"},
		{"group deleted", func() error { return w.DeleteGroup("13") }, "GROUP_DELETION",
			[]string{"source", "id"}, "13"},
		{"join", func() error { _, err := w.Join(u, g, "member"); return err }, "GROUP_ADD_USER",
			[]string{"additional_details", "group_id"}, g},
		{"lead", func() error { _, err := w.Join(u, g, "admin"); return err }, "GROUP_ADMIN_CREATED",
			[]string{"source", "id"}, u},
		{"leave", func() error { return w.Leave(u, g) }, "GROUP_ADMIN_DELETED GROUP_REMOVE_USER",
			[]string{"source", "id"}, u},
		{"invite", func() (err error) {
			collab, err = w.Invite(boxsim.Collaboration{Item: boxsim.FolderPlans, User: u, Role: "viewer uploader"})
			return err
		}, "COLLABORATION_INVITE", []string{"accessible_by", "id"}, u},
		{"other role", func() error { return w.SetCollaborationRole(collab, "editor") },
			"COLLABORATION_ROLE_CHANGE", []string{"additional_details", "role"}, "Editor"},
		{"expiry", func() error { return w.SetExpiry(collab, time.Now().Add(time.Hour)) },
			"UPDATE_COLLABORATION_EXPIRATION", []string{"source", "folder_id"}, boxsim.FolderPlans},
		{"remove", func() error { return w.Uninvite(collab) }, "COLLABORATION_REMOVE",
			[]string{"source", "user_id"}, u},
		{"invite a group to a file", func() (err error) {
			collab, err = w.Invite(boxsim.Collaboration{Item: boxsim.FileDraft, Group: g, Role: "viewer"})
			return err
		}, "COLLABORATION_INVITE GROUP_ADD_ITEM", []string{"source", "item_id"}, boxsim.FileDraft},
		{"remove it", func() error { return w.Uninvite(collab) }, "COLLABORATION_REMOVE GROUP_REMOVE_ITEM",
			[]string{"additional_details", "group_id"}, g},
		{"invite a stranger", func() (err error) {
			collab, err = w.Invite(boxsim.Collaboration{Item: boxsim.FileDraft, Email: "a@b.example", Role: "viewer"})
			return err
		}, "COLLABORATION_INVITE", []string{"source", "user_email"}, "a@b.example"},
		{"upload", func() (err error) {
			file, err = w.AddItem(boxsim.Item{Type: "file", Name: "n", Parent: boxsim.FolderDrafts})
			return err
		}, "UPLOAD", []string{"source", "parent", "id"}, boxsim.FolderDrafts},
		{"move", func() error { return w.Move(file, boxsim.FolderPlans) }, "MOVE",
			[]string{"source", "item_name"}, "n"},
		{"rename", func() error { return w.Rename(file, "m") }, "RENAME", []string{"source", "item_name"}, "m"},
		{"lock", func() error { return w.Lock(file, u) }, "LOCK", []string{"source", "item_type"}, "file"},
		{"unlock", func() error { return w.Lock(file, "") }, "UNLOCK", []string{"source", "item_type"}, "file"},
		{"trash", func() error { return w.Trash(file) }, "DELETE", []string{"created_by", "id"}, boxsim.OwnerUser},
		{"restore", func() error { return w.Restore(file) }, "UNDELETE", []string{"source", "owned_by", "id"},
			boxsim.OwnerUser},
		{"share", func() error { return w.Share(file, "open") }, "SHARE", []string{"source", "item_name"}, "m"},
		{"unshare", func() error { return w.Share(file, "") }, "UNSHARE", []string{"source", "item_name"}, "m"},
		{"folder settings", func() error { return w.Restrict(boxsim.FolderPlans, true, false) },
			"ADVANCED_FOLDER_SETTINGS_UPDATE", []string{"source", "item_id"}, boxsim.FolderPlans},
		{"app", func() error { return w.Authorize("") }, "ENTERPRISE_APP_AUTHORIZATION_UPDATE",
			[]string{"source"}, ""},
		{"unknown", func() error { w.EmitEvent(boxsim.Event{Type: "NEVER_HEARD_OF"}); return nil },
			"NEVER_HEARD_OF", []string{"additional_details"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, now := w.poll(t, token, "admin_logs_streaming", "now", "")
			must(t, c.do())
			got, _ := w.poll(t, token, "admin_logs_streaming", now, "")
			if kinds(got) != c.want {
				t.Fatalf("got %q, want %q", kinds(got), c.want)
			}
			if len(got) == 0 {
				return
			}
			if v := text(at(got[len(got)-1], c.subject...)); v != c.is {
				t.Errorf("%s is %q, want %q: %v", c.subject, v, c.is, got)
			}
		})
	}
}

// TestStreaming reads three hundred events as an honest poller must, and sees each habit of the stream.
func TestStreaming(t *testing.T) {
	w := start(t, boxsim.Options{Limit: -1})
	token := w.service(t)
	page, at := w.poll(t, token, "admin_logs_streaming", "now", "")
	if len(page) != 0 || at == "0" {
		t.Fatalf("now: %d events, cursor %s", len(page), at)
	}
	n, err := strconv.ParseInt(at, 10, 64)
	if err != nil || n <= 1<<53 || int64(float64(n)) == n && int64(float64(n+1)) == n+1 {
		t.Errorf("cursor %s survives a float64: %v", at, err)
	}
	for n := range 300 {
		w.EmitEvent(boxsim.Event{Type: "EDIT_USER", By: boxsim.AdminUser, Details: map[string]any{"n": n}})
	}
	seen, again, zeros, pages, disorder := map[string]bool{}, 0, 0, 0, false
	for range 20 {
		page, next := w.poll(t, token, "admin_logs_streaming", at, "&limit=100")
		if len(page) == 0 {
			if next == "0" {
				zeros++
			}
			continue // an empty page moves no cursor
		}
		pages++
		if len(page) > 51 {
			t.Errorf("%d on a page", len(page))
		}
		for i, e := range page {
			if seen[text(e["event_id"])] {
				again++
			}
			seen[text(e["event_id"])] = true
			disorder = disorder || i > 0 && number(e) < number(page[i-1])
		}
		at = next
	}
	if len(seen) != 300 || again != 5 || pages != 6 || !disorder || zeros == 0 {
		t.Errorf("%d events, %d again, on %d pages, disorder %v, %d zeros", len(seen), again, pages,
			disorder, zeros)
	}
	if page, _ := w.poll(t, token, "admin_logs_streaming", "0", "&limit=500"); len(page) < 200 {
		t.Errorf("from 0: %d", len(page))
	}
	w.SetQuirks(boxsim.Quirks{TidyEvents: true})
	page, _ = w.poll(t, token, "admin_logs_streaming", "", "&limit=500&event_type=EDIT_USER,NEW_USER")
	if len(page) != 300 {
		t.Errorf("tidy: %d", len(page))
	}
}

// number is what the test counted in an event.
func number(e map[string]any) int {
	n, _ := strconv.Atoi(text(at(e, "additional_details", "n")))
	return n
}

func TestCursorsAreNumbersAndStrings(t *testing.T) {
	w := start(t, boxsim.Options{})
	token, types := w.service(t), map[string]bool{}
	for range 4 {
		a := w.get(t, token, "/events?stream_type=admin_logs&stream_position=now").want(t, 200, "")
		switch a.json["next_stream_position"].(type) {
		case string:
			types["string"] = true
		case json.Number:
			types["number"] = true
		}
	}
	if len(types) != 2 {
		t.Errorf("got %v", types)
	}
}

func TestWhoMayReadTheStream(t *testing.T) {
	w := start(t, boxsim.Options{})
	for user, status := range map[string]int{boxsim.AdminUser: 200, boxsim.CoadminUser: 200,
		boxsim.ServiceUser: 200, boxsim.MemberUser: 403} {
		if a := w.get(t, w.as(t, user), "/events?stream_type=admin_logs_streaming"); a.status != status {
			t.Errorf("user %s: %d", user, a.status)
		}
	}
	token := w.as(t, boxsim.MemberUser, "root_readonly")
	if page, _ := w.poll(t, token, "all", "0", ""); len(page) != 0 {
		t.Errorf("user stream: %v", page)
	}
	boss := w.as(t, boxsim.AdminUser)
	for _, bad := range []string{"stream_type=x", "stream_type=admin_logs&stream_position=x", "limit=x",
		"stream_type=admin_logs&created_after=yesterday"} {
		if a := w.get(t, boss, "/events?"+bad); a.status != 400 {
			t.Errorf("%s: %d", bad, a.status)
		}
	}
}

// TestBackfill reads the history in order, between two times, each event once, and with the same ids.
func TestBackfill(t *testing.T) {
	w := start(t, boxsim.Options{LogLag: -1, Limit: -1})
	token := w.service(t)
	must(t, w.Fault(boxsim.Fault{Operation: boxsim.Events, Kind: boxsim.Duplicate, Count: 2}))
	must(t, w.Fault(boxsim.Fault{Operation: boxsim.Events, Kind: boxsim.Reorder, Count: 1}))
	w.EmitEvent(boxsim.Event{Type: "A"})
	w.EmitEvent(boxsim.Event{Type: "B"})
	w.EmitEvent(boxsim.Event{Type: "C"})
	page, next := w.poll(t, token, "admin_logs", "0", "")
	if got := kinds(page); got != "A B C" {
		t.Errorf("got %q", got)
	}
	byID := map[string]bool{}
	for _, e := range page {
		byID[text(e["event_id"])] = true
	}
	page, _ = w.poll(t, token, "admin_logs_streaming", "0", "")
	for _, e := range page {
		delete(byID, text(e["event_id"]))
	}
	if len(byID) != 0 {
		t.Errorf("not in the other stream: %v", byID)
	}
	if page, _ := w.poll(t, token, "admin_logs", next, ""); len(page) != 0 {
		t.Errorf("more: %v", page)
	}
	for query, want := range map[string]string{
		"&created_after=" + rfc(-time.Hour) + "&created_before=" + rfc(time.Hour): "A B C",
		"&created_after=" + rfc(time.Hour):                                        "",
		"&created_before=" + rfc(-time.Hour):                                      "",
		"&event_type=B,C":                                                         "B C",
	} {
		if page, _ := w.poll(t, token, "admin_logs", "0", query); kinds(page) != want {
			t.Errorf("%s: got %q, want %q", query, kinds(page), want)
		}
	}
}

func rfc(from time.Duration) string {
	return url.QueryEscape(time.Now().Add(from).Format(time.RFC3339))
}

func TestLagOfTheStreams(t *testing.T) {
	w := start(t, boxsim.Options{Speed: 100, EventLag: 12 * time.Second, Limit: -1}) // 0.12 s and 0.6 s
	token := w.service(t)
	w.EmitEvent(boxsim.Event{Type: "A"})
	begin := time.Now()
	shows := func(stream string) func() bool {
		return func() bool { page, _ := w.poll(t, token, stream, "0", ""); return len(page) > 0 }
	}
	if shows("admin_logs_streaming")() && time.Since(begin) < 100*time.Millisecond {
		t.Error("shown at once")
	}
	eventually(t, "the event", shows("admin_logs_streaming"))
	if shows("admin_logs")() && time.Since(begin) < 500*time.Millisecond {
		t.Error("both streams show it at the same time")
	}
	eventually(t, "the entry", shows("admin_logs"))
}

func TestRetention(t *testing.T) {
	w := start(t, boxsim.Options{Speed: 14 * 24 * 3600 * 5, LogLag: -1}) // 0.2 s for 14 days
	w.EmitEvent(boxsim.Event{Type: "OLD"})
	look := func(stream string) (got string) { // a token lives for less than a millisecond here
		eventually(t, "a page", func() bool {
			a := w.get(t, w.as(t, boxsim.ServiceUser), "/events?event_type=OLD&stream_type="+stream)
			list, _ := a.json["entries"].([]any)
			got = strconv.Itoa(len(list))
			return a.status == 200
		})
		return got
	}
	eventually(t, "the end of the streaming one", func() bool { return look("admin_logs_streaming") == "0" })
	if diff := cmp.Diff("1", look("admin_logs")); diff != "" {
		t.Errorf("in admin_logs (-want +got):\n%s", diff)
	}
}

func TestFaultsOfEvents(t *testing.T) {
	w := start(t, boxsim.Options{Quirks: boxsim.Quirks{TidyEvents: true}})
	token := w.service(t)
	for _, f := range []boxsim.Fault{
		{Operation: boxsim.Events, Kind: boxsim.Drop, Count: 1},
		{Operation: boxsim.Events, Kind: boxsim.Duplicate, Count: 2},
	} {
		must(t, w.Fault(f))
	}
	for _, kind := range []string{"LOST", "TWICE", "ONCE"} {
		w.EmitEvent(boxsim.Event{Type: kind})
	}
	must(t, w.Fault(boxsim.Fault{Operation: boxsim.Events, Kind: boxsim.Reorder, Count: 1}))
	w.EmitEvent(boxsim.Event{Type: "HELD"})
	w.EmitEvent(boxsim.Event{Type: "NEXT"})
	must(t, w.Fault(boxsim.Fault{Operation: boxsim.Events, Kind: boxsim.Delay, Count: 1,
		Delay: 50 * time.Millisecond}))
	w.EmitEvent(boxsim.Event{Type: "LATE"})
	w.EmitEvent(boxsim.Event{Type: "EARLY"})
	want := "TWICE TWICE ONCE NEXT HELD EARLY LATE"
	eventually(t, want, func() bool {
		page, _ := w.poll(t, token, "admin_logs_streaming", "0", "")
		return kinds(page) == want
	})
}
