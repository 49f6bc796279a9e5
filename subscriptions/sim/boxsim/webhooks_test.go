package boxsim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rescindhq/rescind/subscriptions/sim/boxsim"
)

func TestWebhookLife(t *testing.T) {
	w := start(t, boxsim.Options{})
	token, boss := w.service(t), w.as(t, boxsim.AdminUser)
	body := webhookBody("folder", boxsim.FolderProjects, "http://127.0.0.1:1/x", "FOLDER.MOVED")
	a := w.call(t, token, "POST", "/webhooks", body).want(t, 201, "")
	path := "/webhooks/" + text(a.json["id"])
	w.call(t, token, "POST", "/webhooks", body).want(t, 409, "conflict")
	w.call(t, w.as(t, boxsim.OwnerUser), "POST", "/webhooks", body).want(t, 201, "") // another user
	w.get(t, boss, path).want(t, 404, "not_found")
	if got := w.get(t, boss, "/webhooks").want(t, 200, "").ids(); got != "" {
		t.Errorf("the admin sees %s", got)
	}
	list, _ := w.get(t, token, "/webhooks").want(t, 200, "").json["entries"].([]any)
	if len(list) != 1 || at(list[0], "address") != nil || at(list[0], "target", "id") != boxsim.FolderProjects {
		t.Errorf("not the mini form: %v", list)
	}
	w.call(t, token, "PUT", path, map[string]any{"triggers": []string{"FILE.TRASHED"}}).want(t, 200, "")
	if got := text(w.get(t, token, path).want(t, 200, "").json["triggers"]); got != "[FILE.TRASHED]" {
		t.Errorf("triggers %s", got)
	}
	w.call(t, token, "DELETE", path, nil).want(t, 204, "")
	w.get(t, token, path).want(t, 404, "not_found")
	for name, bad := range map[string]map[string]any{
		"root":      webhookBody("folder", "0", "http://x.example/", "FOLDER.MOVED"),
		"web link":  webhookBody("web_link", "5", "http://x.example/", "FOLDER.MOVED"),
		"trigger":   webhookBody("folder", boxsim.FolderDrafts, "http://x.example/", "FOLDER.EATEN"),
		"on a file": webhookBody("file", boxsim.FileDraft, "http://x.example/", "COLLABORATION.CREATED"),
		"no ear":    webhookBody("folder", boxsim.FolderDrafts, "ftp://x.example/", "FOLDER.MOVED"),
		"box.com":   webhookBody("folder", boxsim.FolderDrafts, "https://app.box.com/", "FOLDER.MOVED"),
		"nothing":   {"address": "http://x.example/"},
	} {
		if a := w.call(t, token, "POST", "/webhooks", bad); a.status != 400 {
			t.Errorf("%s: got %d %s", name, a.status, a.raw)
		}
	}
	hidden := webhookBody("folder", boxsim.FolderPrivate, "http://x.example/", "FOLDER.MOVED")
	w.call(t, w.as(t, boxsim.MemberUser), "POST", "/webhooks", hidden).want(t, 404, "not_found")
}

func TestThousandWebhooksAndTheirPages(t *testing.T) {
	w := start(t, boxsim.Options{Limit: -1})
	token := w.as(t, boxsim.OwnerUser)
	for n := range 1001 {
		file := id(t)(w.AddItem(boxsim.Item{Type: "file", Name: fmt.Sprint(n), Parent: boxsim.FolderDrafts}))
		a := w.call(t, token, "POST", "/webhooks", webhookBody("file", file, "http://x.example/", "FILE.MOVED"))
		if want := map[bool]int{true: 201, false: 400}[n < 1000]; a.status != want {
			t.Fatalf("webhook %d: %d %s", n, a.status, a.raw)
		}
	}
	seen, pages, marker := map[string]bool{}, 0, ""
	for more := true; more; pages++ {
		a := w.get(t, token, "/webhooks?limit=500&marker="+marker).want(t, 200, "")
		for one := range strings.FieldsSeq(a.ids()) {
			seen[one] = true
		}
		marker = text(a.json["next_marker"])
		more = marker != ""
	}
	if len(seen) != 1000 || pages != 5 {
		t.Errorf("%d webhooks on %d pages, want 1000 on 5", len(seen), pages)
	}
	ends := map[string]bool{}
	for range 3 {
		v, there := w.get(t, w.service(t), "/webhooks").want(t, 200, "").json["next_marker"]
		ends[fmt.Sprintf("%v %#v", there, v)] = true
	}
	if len(ends) != 3 {
		t.Errorf("ends of the last page: %v", ends)
	}
}

func TestRetries(t *testing.T) {
	w := start(t, boxsim.Options{Speed: 10 * 60 * 1000}) // a millisecond between them
	var tries atomic.Int32
	h := listen(t, func() int {
		if tries.Add(1) <= 13 {
			return 500
		}
		return 204
	})
	w.subscribe(t, w.as(t, boxsim.OwnerUser), "folder", boxsim.FolderPlans, h.url, "FOLDER.RENAMED")
	must(t, w.Rename(boxsim.FolderPlans, "x"))
	first := h.next(t, "FOLDER.RENAMED")
	ids := map[string]bool{first.head.Get("Box-Delivery-Id"): true}
	for range 12 {
		n := h.next(t, "FOLDER.RENAMED")
		ids[n.head.Get("Box-Delivery-Id")] = true
		if string(n.raw) != string(first.raw) {
			t.Errorf("another body: %s", n.raw)
		}
		verify(t, n, "sim-primary-key", "sim-secondary-key")
	}
	if len(ids) != 13 {
		t.Errorf("%d delivery ids in 13 attempts", len(ids))
	}
	eventually(t, "13 failures counted", func() bool { return w.Webhooks()[0].Failed == 13 })
	must(t, w.Rename(boxsim.FolderPlans, "y")) // nothing of the old one comes any more
	if n := h.next(t, "FOLDER.RENAMED"); n.json["id"] == first.json["id"] {
		t.Error("a 14th attempt")
	}
	h.quiet(t)
}

func TestATimeoutIsAFailure(t *testing.T) {
	w := start(t, boxsim.Options{DeliveryTimeout: 30 * time.Millisecond, Speed: 600000})
	release := make(chan bool)
	var tries atomic.Int32
	h := listen(t, func() int {
		if tries.Add(1) == 1 {
			<-release
		}
		return 200
	})
	w.subscribe(t, w.service(t), "folder", boxsim.FolderPlans, h.url, "FOLDER.RENAMED")
	must(t, w.Rename(boxsim.FolderPlans, "x"))
	first, second := h.next(t, "FOLDER.RENAMED"), h.next(t, "FOLDER.RENAMED")
	close(release)
	if first.json["id"] != second.json["id"] {
		t.Error("another id")
	}
	h.quiet(t)
}

// TestTriggers changes the world and says what each kind of webhook hears of it: on the folder on top, on one
// in it, and on a file.
func TestTriggers(t *testing.T) {
	w := start(t, boxsim.Options{Senders: 1})
	top, deep, file := listen(t, nil), listen(t, nil), listen(t, nil)
	token := w.as(t, boxsim.OwnerUser)
	items := strings.Fields("FILE.MOVED FILE.TRASHED FILE.RESTORED FILE.DELETED FILE.LOCKED FILE.UNLOCKED" +
		" SHARED_LINK.CREATED SHARED_LINK.UPDATED SHARED_LINK.DELETED")
	folders := append(strings.Fields("FILE.UPLOADED FOLDER.CREATED FOLDER.MOVED FOLDER.TRASHED FOLDER.RESTORED"+
		" FOLDER.DELETED COLLABORATION.CREATED COLLABORATION.UPDATED COLLABORATION.REMOVED"), items...)
	w.subscribe(t, token, "folder", boxsim.FolderProjects, top.url, folders...)
	w.subscribe(t, token, "folder", boxsim.FolderDrafts, deep.url, folders...)
	w.subscribe(t, token, "file", boxsim.FileDraft, file.url, items...)
	var collab string
	for _, c := range []struct {
		name            string
		do              func() error
		top, deep, file string // triggers
		source          []string
		info            string
	}{
		{"invite", func() error {
			collab = w.invite(t, boxsim.FolderDrafts, boxsim.MemberUser, "editor")
			return nil
		}, "COLLABORATION.CREATED", "COLLABORATION.CREATED", "", []string{"accessible_by", "id"}, "[]"},
		{"role", func() error { return w.SetCollaborationRole(collab, "viewer") },
			"COLLABORATION.UPDATED", "COLLABORATION.UPDATED", "", []string{"role"}, "[]"},
		{"remove", func() error { return w.Uninvite(collab) },
			"COLLABORATION.REMOVED", "COLLABORATION.REMOVED", "", []string{"item", "id"}, "[]"},
		{"on a file", func() error {
			_, err := w.Invite(boxsim.Collaboration{Item: boxsim.FileDraft, User: boxsim.AdminUser, Role: "viewer"})
			return err
		}, "", "", "", nil, ""},
		{"lock", func() error { return w.Lock(boxsim.FileDraft, boxsim.EditorUser) },
			"FILE.LOCKED", "FILE.LOCKED", "FILE.LOCKED", []string{"path_collection"}, "[]"},
		{"unlock", func() error { return w.Lock(boxsim.FileDraft, "") },
			"FILE.UNLOCKED", "FILE.UNLOCKED", "FILE.UNLOCKED", nil, "[]"},
		{"share", func() error { return w.Share(boxsim.FolderPlans, "open") },
			"SHARED_LINK.CREATED", "", "", []string{"shared_link", "url"}, "[]"},
		{"share less", func() error { return w.Share(boxsim.FolderPlans, "company") },
			"SHARED_LINK.UPDATED", "", "", nil, "[]"},
		{"unshare", func() error { return w.Share(boxsim.FolderPlans, "") },
			"SHARED_LINK.DELETED", "", "", nil, "[]"},
		{"trash", func() error { return w.Trash(boxsim.FileDraft) },
			"FILE.TRASHED", "FILE.TRASHED", "FILE.TRASHED", []string{"type"}, "[]"},
		{"restore", func() error { return w.Restore(boxsim.FileDraft) },
			"FILE.RESTORED", "FILE.RESTORED", "FILE.RESTORED", []string{"parent", "id"}, "[]"},
		{"move out", func() error { return w.Move(boxsim.FolderDrafts, boxsim.FolderPrivate) },
			"FOLDER.MOVED", "FOLDER.MOVED", "", []string{"path_collection", "entries"},
			`{"after":{"id":"1009","type":"folder"},"before":{"id":"1002","type":"folder"}}`},
		{"move a file out of sight", func() error { return w.Move(boxsim.FileDraft, boxsim.FolderPrivate) },
			"", "FILE.MOVED", "FILE.MOVED", nil, `{"after":{"id":"1009","type":"folder"},` +
				`"before":{"id":"1003","type":"folder"}}`},
		{"delete", func() error { return w.Delete(boxsim.FileDraft) },
			"", "", "FILE.DELETED", []string{"id"}, "[]"},
		{"create", func() error {
			_, err := w.AddItem(boxsim.Item{Type: "file", Name: "n", Parent: boxsim.FolderProjects})
			return err
		}, "FILE.UPLOADED", "", "", []string{"sha1"}, "[]"},
		{"move in", func() error { return w.Move(boxsim.FileRoadmap, boxsim.FolderDrafts) },
			"FILE.MOVED", "FILE.MOVED", "", nil, `{"after":{"id":"1003","type":"folder"},` +
				`"before":{"id":"1002","type":"folder"}}`},
		{"which is an upload too", func() error { return nil }, "", "FILE.UPLOADED", "", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			must(t, c.do())
			for h, trigger := range map[*hook]string{top: c.top, deep: c.deep, file: c.file} {
				if trigger == "" {
					continue
				}
				n := h.next(t, trigger)
				info, err := json.Marshal(n.json["additional_info"])
				if err != nil || c.info != "" && string(info) != c.info {
					t.Errorf("additional_info %s, want %s", info, c.info)
				}
				if v := at(n.json["source"], c.source...); v == nil {
					t.Errorf("no source.%s: %s", c.source, n.raw)
				}
				if by := text(at(n.json, "created_by", "id")); by != boxsim.OwnerUser {
					t.Errorf("by %s", by)
				}
			}
		})
	}
	for _, h := range []*hook{top, deep, file} {
		h.quiet(t)
	}
}

func TestWhatIsLeftOfAnItemInTheTrash(t *testing.T) {
	w := start(t, boxsim.Options{})
	h := listen(t, nil)
	w.subscribe(t, w.service(t), "folder", boxsim.FolderProjects, h.url, "FOLDER.TRASHED")
	must(t, w.Trash(boxsim.FolderPlans))
	got := h.next(t, "FOLDER.TRASHED").json["source"]
	want := map[string]any{"id": boxsim.FolderPlans, "type": "folder"}
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("source (-want +got):\n%s", diff)
	}
}

func TestDeliveriesWithoutASession(t *testing.T) {
	w := start(t, boxsim.Options{})
	h := listen(t, nil)
	w.subscribe(t, w.service(t), "folder", boxsim.FolderProjects, h.url, "FOLDER.RENAMED")
	must(t, w.Deauthorize(""))
	must(t, w.Rename(boxsim.FolderPlans, "x"))
	n := h.next(t, "NO_ACTIVE_SESSION")
	if n.json["source"] != nil || n.json["created_by"] != nil || at(n.json, "webhook", "id") == nil {
		t.Errorf("got %s", n.raw)
	}
	must(t, w.Authorize(""))
	must(t, w.Rename(boxsim.FolderPlans, "y"))
	h.next(t, "FOLDER.RENAMED")
}

func TestWebhooksThatFailForLongAreDeleted(t *testing.T) {
	w := start(t, boxsim.Options{Speed: 30 * 24 * 3600}) // a second for 30 days, and hardly any for a token
	h := listen(t, func() int { return http.StatusTeapot })
	body := webhookBody("folder", boxsim.FolderProjects, h.url, "FOLDER.RENAMED")
	eventually(t, "a webhook made in time", func() bool {
		return w.call(t, w.as(t, boxsim.ServiceUser), "POST", "/webhooks", body).status == 201
	})
	eventually(t, "the clean-up", func() bool {
		must(t, w.Rename(boxsim.FolderPlans, "x"))
		return len(w.Webhooks()) == 0
	})
	for n := range h.notices {
		if n.trigger() == "WEBHOOK.DELETED" {
			break
		}
	}
}

func TestOwnersOfWebhooks(t *testing.T) {
	w := start(t, boxsim.Options{})
	h := listen(t, nil)
	hook := w.subscribe(t, w.as(t, boxsim.EditorUser), "folder", boxsim.FolderProjects, h.url, "FOLDER.RENAMED")
	must(t, w.DeleteUser(boxsim.EditorUser, false))
	must(t, w.Rename(boxsim.FolderPlans, "x"))
	n := h.next(t, "FOLDER.RENAMED")
	at := n.head.Get("Box-Delivery-Timestamp")
	got := n.head.Get("Box-Signature-Primary")
	if got == "" || got == boxsim.Sign("sim-primary-key", n.raw, at) {
		t.Errorf("signature of a deleted user's webhook: %q", got)
	}
	must(t, w.DeleteWebhook(hook))
	h.next(t, "WEBHOOK.DELETED")
}

func TestQuirksOfDeliveries(t *testing.T) {
	w := start(t, boxsim.Options{Quirks: boxsim.Quirks{ItemSource: true, FileHooks: true, FullWebhook: true,
		DeleteNotice: true}})
	h := listen(t, nil)
	token := w.service(t)
	hook := w.subscribe(t, token, "folder", boxsim.FolderProjects, h.url, "COLLABORATION.CREATED")
	id(t)(w.Invite(boxsim.Collaboration{Item: boxsim.FileDraft, User: boxsim.AdminUser, Role: "viewer"}))
	n := h.next(t, "COLLABORATION.CREATED")
	if text(at(n.json, "source", "id")) != boxsim.FileDraft || at(n.json, "webhook", "address") != h.url {
		t.Errorf("got %s", n.raw)
	}
	w.call(t, token, "DELETE", "/webhooks/"+hook, nil).want(t, 204, "")
	h.next(t, "WEBHOOK.DELETED")
}

func TestOneWebhookForEachItemAppAndUser(t *testing.T) {
	w := start(t, boxsim.Options{})
	w.AddApp(boxsim.App{ClientID: "second", Secret: "s", Scopes: []string{"manage_webhook", "root_readonly"}})
	a := w.form(t, "/oauth2/token", "client_id", "second", "client_secret", "s", "grant_type",
		"client_credentials", "box_subject_type", "user", "box_subject_id", boxsim.OwnerUser).want(t, 200, "")
	first, second := w.as(t, boxsim.OwnerUser), text(a.json["access_token"])
	body := webhookBody("folder", boxsim.FolderPlans, "http://127.0.0.1:1/x", "FOLDER.MOVED")
	w.call(t, first, "POST", "/webhooks", body).want(t, 201, "")
	w.call(t, second, "POST", "/webhooks", body).want(t, 201, "")
	other := w.subscribe(t, second, "folder", boxsim.FolderDrafts, "http://127.0.0.1:1/x", "FOLDER.MOVED")
	w.call(t, second, "PUT", "/webhooks/"+other, body).want(t, 409, "conflict")
	none := map[string]any{"triggers": []string{}}
	w.call(t, second, "PUT", "/webhooks/"+other, none).want(t, 400, "bad_request")
	if got := w.get(t, second, "/webhooks").want(t, 200, "").ids(); len(strings.Fields(got)) != 2 {
		t.Errorf("of the second app: %q", got)
	}
	w.get(t, first, "/webhooks/"+other).want(t, 404, "not_found")
	w.call(t, first, "DELETE", "/webhooks/"+other, nil).want(t, 404, "not_found")
}

func TestAddressesWhereHTTPSIsAskedFor(t *testing.T) {
	w := start(t, boxsim.Options{RequireHTTPS: true})
	token := w.service(t)
	for address, status := range map[string]int{"http://a.example/": 400, "https://a.example:8443/": 400,
		"https://a.example/": 201, "https://a.example:443/x": 201} {
		body := webhookBody("folder", boxsim.FolderPlans, address, "FOLDER.MOVED")
		a := w.call(t, token, "POST", "/webhooks", body)
		if a.status == 201 {
			w.call(t, token, "DELETE", "/webhooks/"+text(a.json["id"]), nil).want(t, 204, "")
		}
		if a.status != status {
			t.Errorf("%s: got %d, want %d", address, a.status, status)
		}
	}
}
