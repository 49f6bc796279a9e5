package boxsim_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/rescindhq/rescind/subscriptions/sim/boxsim"
)

// TestThousandDeliveries sends a thousand, each of them once.
func TestThousandDeliveries(t *testing.T) {
	w := start(t, boxsim.Options{})
	h := listen(t, nil)
	w.subscribe(t, w.service(t), "folder", boxsim.FolderProjects, h.url, "FILE.PREVIEWED")
	begin := time.Now()
	for n := range 1000 {
		must(t, w.Trigger("FILE.PREVIEWED", "", boxsim.FileDraft, nil, map[string]any{"n": n}))
	}
	seen := map[string]bool{}
	for range 1000 {
		seen[text(at(h.next(t, "FILE.PREVIEWED").json, "additional_info", "n"))] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d different ones arrived", len(seen))
	}
	t.Logf("1,000 deliveries in %v", time.Since(begin))
	h.quiet(t)
}

// TestConcurrentUse is for the race detector: readers, writers, faults and deliveries at once.
func TestConcurrentUse(t *testing.T) {
	w := start(t, boxsim.Options{Limit: -1})
	h := listen(t, nil)
	token := w.service(t)
	w.subscribe(t, token, "folder", boxsim.FolderProjects, h.url, "COLLABORATION.UPDATED", "FOLDER.MOVED",
		"FILE.UPLOADED")
	work := []func(int) error{
		func(n int) error { return w.SetCollaborationRole("31", []string{"viewer", "editor"}[n%2]) },
		func(n int) error { return w.SetExpiry("33", time.Now().Add(time.Hour)) },
		func(n int) error { return w.SetRole(boxsim.MemberUser, []string{"coadmin", "user"}[n%2]) },
		func(n int) error { _, err := w.AddUser(boxsim.User{Name: fmt.Sprint(n)}); return err },
		func(n int) error { return w.Move(boxsim.FolderDrafts, []string{"1001", "1002"}[n%2]) },
		func(n int) error {
			_, err := w.AddItem(boxsim.Item{Type: "file", Name: "n", Parent: boxsim.FolderPlans})
			return err
		},
		func(n int) error {
			return w.Fault(boxsim.Fault{Operation: "get_folders_id", Kind: boxsim.Stale, Count: 5,
				Delay: time.Millisecond})
		},
		func(n int) error {
			return w.Fault(boxsim.Fault{Operation: boxsim.Deliveries, Kind: boxsim.Reorder, Count: 1})
		},
		func(n int) error { w.Webhooks(); w.Users(); w.AllCalls(); w.ClearFaults(); return w.Authorize("") },
	}
	paths := []string{projects + "?fields=permissions", "/users?fields=role", "/webhooks", "/folders/0/items",
		projects + "/collaborations", "/events?stream_type=admin_logs_streaming", "/users/203/memberships"}
	var all sync.WaitGroup
	for i, do := range work {
		all.Go(func() {
			for n := range 20 {
				if err := do(n); err != nil {
					t.Error(err)
				}
				if a := w.get(t, token, paths[(i+n)%len(paths)]); a.status != 200 {
					t.Errorf("%d %s", a.status, a.raw)
				}
			}
		})
	}
	all.Wait()
}

// BenchmarkPermissions is the handler alone, without a network, with a thousand collaborations.
func BenchmarkPermissions(b *testing.B) {
	s := boxsim.New(boxsim.Options{Limit: -1})
	for n := range 1000 {
		user := id(b)(s.AddUser(boxsim.User{Name: fmt.Sprint(n)}))
		id(b)(s.Invite(boxsim.Collaboration{Item: boxsim.FolderProjects, User: user, Role: "viewer"}))
	}
	token := s.IssueToken(boxsim.EditorUser)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			r := httptest.NewRequest(http.MethodGet, "/2.0/folders/"+boxsim.FolderDrafts+"?fields=permissions", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			if s.ServeHTTP(w, r); w.Code != http.StatusOK {
				b.Error(w.Body)
				return
			}
		}
	})
}
