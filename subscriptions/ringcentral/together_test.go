package ringcentral_test

import (
	"maps"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// crowded has many extensions, each with the one or the other role.
func crowded(t *testing.T, n int) (s *stage, want map[events.Subject]string) {
	t.Helper()
	return crowdedWithin(t, n, -1)
}

// crowdedWithin allows so many light calls.
func crowdedWithin(t *testing.T, n, light int) (s *stage, want map[events.Subject]string) {
	t.Helper()
	s = newStage(t, sim.Options{Limits: map[string]sim.Limit{
		"light": {Calls: light}, "medium": {Calls: -1}, "heavy": {Calls: -1}, "auth": {Calls: -1},
	}}, false)
	want = map[events.Subject]string{}
	for i := range n {
		one := strconv.Itoa(6_000_000_000 + i)
		role := strconv.Itoa(3 + i%2)
		if err := s.rc.AddExtensions(sim.Extension{ID: one, Name: "x", Roles: []string{role}}); err != nil {
			t.Fatal(err)
		}
		want[events.Subject(one)] = role
	}
	return s, want
}

// readAll reads all at once, and wants of each its own role.
func (s *stage) readAll(t *testing.T, want map[events.Subject]string) {
	t.Helper()
	s.readWith(t, want, nil)
}

// readWith is readAll where these parts are kept already.
func (s *stage) readWith(t *testing.T, want map[events.Subject]string, parts map[string][]byte) {
	t.Helper()
	var wg sync.WaitGroup
	for subject, role := range want {
		wg.Go(func() {
			session := newSession(1)
			maps.Copy(session.parts, parts)
			a, err := s.Read(t.Context(), events.Ref{Home: home, Subject: subject}, session)
			if err != nil {
				t.Errorf("%s: %v", subject, err)
				return
			}
			if a.Grants[cache.NewGrant(cache.Role, role)] == "" {
				t.Errorf("%s has not role %s: %v", subject, role, a.Tags)
			}
		})
	}
	wg.Wait()
}

func TestManyAreReadTogether(t *testing.T) {
	const n = 60
	s, want := crowded(t, n)
	s.Gather(time.Second) // and those before the crowd are held that long
	f := sim.Fault{Operation: "listUserAssignedRoles", Kind: sim.Delay, Delay: time.Second}
	if err := s.rc.Fault(f); err != nil {
		t.Fatal(err)
	}
	s.readAll(t, want)
	listed, alone := s.rc.Calls("listAssignedRoles"), s.rc.Calls("listUserAssignedRoles")
	t.Logf("%d reads: %d listings, %d alone", n, listed, alone)
	if listed == 0 || listed+alone > n/2 {
		t.Errorf("%d reads took %d listings and %d calls", n, listed, alone)
	}
}

func TestFewAreReadAlone(t *testing.T) {
	s, want := crowded(t, 4)
	s.readAll(t, want)
	if n := s.rc.Calls("listAssignedRoles"); n != 0 {
		t.Errorf("%d listings for four", n)
	}
}

// Whatever becomes of the listing, each gets its own answer.
func TestListingThatFails(t *testing.T) {
	for name, f := range map[string]sim.Fault{
		"refused": {Kind: sim.Status, Status: http.StatusForbidden},
		"limited": {Kind: sim.Status, Status: http.StatusTooManyRequests, Delay: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			s, want := crowded(t, 20)
			f.Operation = "listAssignedRoles"
			if err := s.rc.Fault(f); err != nil {
				t.Fatal(err)
			}
			s.readAll(t, want)
			if n := s.rc.Calls("listUserAssignedRoles"); n != 20 {
				t.Errorf("%d read alone, want all", n)
			}
		})
	}
}

// One that came to be while the listing was made is read alone.
func TestWhoIsNotListedIsReadAlone(t *testing.T) {
	s, want := crowded(t, 20)
	stranger := events.Subject("6999999999")
	var wg sync.WaitGroup
	wg.Go(func() { s.readAll(t, want) })
	wg.Go(func() {
		a, err := s.Read(t.Context(), events.Ref{Home: home, Subject: stranger}, newSession(1))
		if err != nil || a.Basis != "not-found" {
			t.Errorf("%+v, %v", a.Basis, err)
		}
	})
	wg.Wait()
}

// Those for whom there is no call of their own are listed, which counts in
// another group.
func TestWhoHasNoCallIsReadByAListing(t *testing.T) {
	const n, calls = 20, 12
	s, want := crowdedWithin(t, n, calls)
	first := newSession(1)
	for _, one := range []events.Subject{"6000000000", "6000000001"} { // the roles and the dictionary, which all share
		if _, err := s.Read(t.Context(), events.Ref{Home: home, Subject: one}, first); err != nil {
			t.Fatal(err)
		}
	}
	for subject, role := range want { // no crowd: one after the other
		s.readWith(t, map[events.Subject]string{subject: role}, first.parts)
	}
	listed, alone := s.rc.Calls("listAssignedRoles"), s.rc.Calls("listUserAssignedRoles")
	if spent := 2 + 1 + alone; spent != calls || listed != n+2-alone { // roles, dictionary
		t.Errorf("%d reads took %d listings and %d single calls", n, listed, alone)
	}
}
