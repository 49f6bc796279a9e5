package ringcentral_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

var _ subscriptions.Tail = (*stage)(nil)

const rolesRoute = "GET /account/37439510/user-role"

// poll polls, and wants at most one change that can be published.
func poll(t *testing.T, p subscriptions.Tail, cursor []byte) (tags []string, c events.Change, next []byte) {
	t.Helper()
	changes, next, err := p.Poll(t.Context(), cursor)
	if err != nil || len(changes) > 1 || len(next) == 0 {
		t.Fatalf("%d changes, cursor of %d bytes, %v", len(changes), len(next), err)
	}
	if len(changes) == 0 {
		return nil, c, next
	}
	c = changes[0]
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.Home != home || c.Source != events.Tail || c.Received.IsZero() {
		t.Errorf("change %+v", c)
	}
	for _, tag := range c.Tags {
		tags = append(tags, tag.String())
	}
	return tags, c, next
}

func put(t *testing.T, rc *sim.RingCentral, r sim.Role) string {
	t.Helper()
	id, err := rc.PutRole(r)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// edit touches roles.
func edit(t *testing.T, rc *sim.RingCentral, ids ...string) {
	t.Helper()
	for _, id := range ids {
		r, err := rc.Role(id)
		if err != nil {
			t.Fatal(err)
		}
		put(t, rc, r)
	}
}

func TestPollNamesTheRolesThatAreNotAsTheyWere(t *testing.T) {
	s := newStage(t, sim.Options{}, false)
	first, second := put(t, s.rc, sim.Role{DisplayName: "a"}), put(t, s.rc, sim.Role{DisplayName: "b"})
	tags, _, cursor := poll(t, s, nil)
	if tags != nil {
		t.Errorf("the first look finds %q", tags)
	}
	tags, _, again := poll(t, s, cursor)
	if tags != nil || string(again) != string(cursor) {
		t.Errorf("nothing has changed, but %q, and the cursor %s is now %s", tags, cursor, again)
	}
	for _, c := range []struct {
		name    string
		do      func() []string // and the roles that are touched
		reasons []string
	}{
		{"a role is edited", func() []string {
			edit(t, s.rc, first)
			return []string{first}
		}, []string{"roles edited: 1"}},
		{"a standard role is edited", func() []string {
			edit(t, s.rc, "3")
			return []string{"3"}
		}, []string{"roles edited: 1"}},
		{"a role is added", func() []string {
			return []string{put(t, s.rc, sim.Role{DisplayName: "c"})}
		}, []string{"roles added: 1"}},
		{"a role is deleted", func() []string {
			if err := s.rc.RemoveRole(second); err != nil {
				t.Fatal(err)
			}
			return []string{second}
		}, []string{"roles deleted: 1"}},
		{"several at once", func() []string {
			edit(t, s.rc, first, "3")
			return []string{first, "3", put(t, s.rc, sim.Role{DisplayName: "d"})}
		}, []string{"roles edited: 2", "roles added: 1"}},
	} {
		before := time.Now().Add(-time.Second)
		var want []string
		for _, id := range c.do() {
			want = append(want, events.RoleTag(id).String())
		}
		slices.Sort(want)
		tags, change, next := poll(t, s, cursor)
		if diff := cmp.Diff(want, tags); diff != "" {
			t.Errorf("%s: tags (-want +got):\n%s", c.name, diff)
		}
		if diff := cmp.Diff(c.reasons, change.Reasons); diff != "" {
			t.Errorf("%s: reasons (-want +got):\n%s", c.name, diff)
		}
		if gone := c.name == "a role is deleted"; change.Occurred.Before(before) != gone {
			t.Errorf("%s: occurred %s", c.name, change.Occurred)
		}
		cursor = next
	}
	if tags, _, _ := poll(t, s, cursor); tags != nil {
		t.Errorf("at last %q", tags)
	}
}

// A poll that is repeated from the same cursor, as after a takeover, finds the
// same change under the same id; going back and forth makes other changes.
func TestARepeatedPollIsTheSameChange(t *testing.T) {
	w := open(t, testConfig())
	lists := [2]string{
		`{"records":[{"id":"7","lastUpdated":"2026-01-02T03:04:05.000Z"}]}`,
		`{"records":[{"id":"7","lastUpdated":"2026-01-02T03:04:06.000Z"}]}`,
	}
	w.vendor.says(rolesRoute, 200, lists[0])
	_, _, cursor := poll(t, w, nil)
	seen := map[string]bool{}
	for i := range 6 {
		w.vendor.says(rolesRoute, 200, lists[(i+1)%2])
		_, one, next := poll(t, w, cursor)
		_, two, _ := poll(t, w, cursor)
		if one.ID != two.ID || seen[one.ID] {
			t.Errorf("ids %q and %q; seen before: %t", one.ID, two.ID, seen[one.ID])
		}
		seen[one.ID] = true
		cursor = next
	}
}

// Any of what the list shows counts, but not the order in which it does.
func TestWhatCountsAsAnEdit(t *testing.T) {
	const list = `{"records":[{"id":"7","lastUpdated":"L","displayName":"D","scope":"S","custom":true,` +
		`"hidden":false,"permissions":[{"id":"P"},{"id":"Q"}]}],"paging":{}}`
	for change, want := range map[string]bool{
		`"L"/"M"`: true, `"D"/"E"`: true, `"S"/"T"`: true, `true/false`: true, `false/true`: true, `"Q"/"R"`: true,
		`{"id":"P"},{"id":"Q"}/{"id":"Q"},{"id":"P"}`: false, `"paging":{}/"paging":{"page":1}`: false,
		`"id":"7",/"id":7,`: false, `"id":"7",/"id":"7","uri":"elsewhere",`: false,
	} {
		w := open(t, testConfig())
		w.vendor.says(rolesRoute, 200, list)
		_, _, cursor := poll(t, w, nil)
		from, to, _ := strings.Cut(change, "/")
		w.vendor.says(rolesRoute, 200, strings.Replace(list, from, to, 1))
		if tags, _, _ := poll(t, w, cursor); (tags != nil) != want {
			t.Errorf("%s: %q", change, tags)
		}
	}
}

// A role that moves to another page while pages are read is touched at worst, and
// never missed.
func TestPollReadsAllPages(t *testing.T) {
	s := newStage(t, sim.Options{}, false)
	var last string
	for range 2100 {
		last = put(t, s.rc, sim.Role{DisplayName: "r"})
	}
	_, _, cursor := poll(t, s, nil)
	was := s.rc.Calls("listUserRoles")
	edit(t, s.rc, "3", last)
	tags, _, _ := poll(t, s, cursor)
	if diff := cmp.Diff([]string{"role:" + last, "role:3"}, tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if n := s.rc.Calls("listUserRoles") - was; n != 3 {
		t.Errorf("%d calls for 2,100 roles", n)
	}
}

// roleList is a list of n roles with long ids.
func roleList(n int, updated string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,{"id":"%0200d","lastUpdated":"%s"}`, i, updated)
	}
	return `{"records":[` + b.String()[1:] + `]}`
}

// Too many roles make a cursor that is still short, and a change of the tenant.
func TestTooManyRolesToBeNamed(t *testing.T) {
	const few, many = 1000, 2000 // the bound lies between
	w := open(t, testConfig())
	next := func(cursor []byte, n int, updated, want string) []byte {
		t.Helper()
		w.vendor.says(rolesRoute, 200, roleList(n, updated))
		tags, _, next := poll(t, w, cursor)
		got := fmt.Sprint(len(tags))
		if len(tags) == 1 {
			got = tags[0]
		}
		if got != want {
			t.Errorf("%d roles: %s tags, want %s", n, got, want)
		}
		if len(next) > 300<<10 {
			t.Errorf("a cursor of %d bytes", len(next))
		}
		return next
	}
	cursor := next(nil, few, "a", "0")
	cursor = next(cursor, few, "b", "1000")
	cursor = next(cursor, many, "b", "tenant")
	cursor = next(cursor, many, "b", "0")
	cursor = next(cursor, many, "c", "tenant")
	cursor = next(cursor, few, "c", "tenant")
	next(cursor, few, "c", "0")
}

func TestPollRefusesWhatIsNoList(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		is     error
	}{
		"no records":    {200, `{}`, nil},
		"no id":         {200, `{"records":[{"lastUpdated":"a"}]}`, nil},
		"a long id":     {200, roleList(1, "a")[:40] + strings.Repeat("0", 257) + roleList(1, "a")[40:], nil},
		"no right":      {403, `{"errors":[{"errorCode":"CMN-408"}]}`, subscriptions.ErrMisconfigured},
		"no permission": {403, `{"errors":[{"errorCode":"CMN-401"}]}`, subscriptions.ErrMisconfigured},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, testConfig())
			w.vendor.says(rolesRoute, c.status, c.body)
			changes, next, err := w.Poll(t.Context(), []byte(`{"v":1,"n":0,"roles":{"7":"x"}}`))
			if err == nil || changes != nil || next != nil {
				t.Fatalf("%v, %q, %v", changes, next, err)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error %v, want %v", err, c.is)
			}
			noSecret(t, err.Error())
		})
	}
}

func TestPollObeysTheRateLimit(t *testing.T) {
	w := open(t, testConfig())
	w.vendor.on(rolesRoute, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Retry-After", "60")
		reply(rw, 429, `{"errorCode":"CMN-301"}`)
	})
	_, _, err := w.Poll(t.Context(), nil)
	_, _, err2 := w.Poll(t.Context(), nil)
	for _, err := range []error{err, err2} {
		if !strings.Contains(fmt.Sprint(err), "no medium call before") {
			t.Errorf("error %v", err)
		}
	}
	if n := w.vendor.count(rolesRoute); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// Whatever lies where a cursor should, a poll yields a cursor to go on from, and
// says that something may have changed unless it is one of ours.
func FuzzCursor(f *testing.F) {
	for _, s := range []string{
		"", "{", "null", "[]", `{"v":1,"n":1,"roles":{"7":"x"}}`, `{"v":1,"n":1,"roles":{"":"x"}}`,
		`{"v":2,"n":1,"roles":{}}`, `{"v":1,"all":"x"}`, `{"v":1,"n":18446744073709551615,"roles":null}`,
		`{"v":1,"n":-1}`, `{"v":1,"roles":{"` + strings.Repeat("7", 257) + `":"x"}}`,
		"{\"v\":1,\"roles\":{\"\xff\":\"x\"}}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, cursor []byte) {
		w, ctx := fuzzed(t, testConfig())
		w.vendor.says(rolesRoute, 200, `{"records":[{"id":"7","lastUpdated":"a"}]}`)
		changes, next, err := w.Poll(ctx, cursor)
		if err != nil {
			t.Fatal(err)
		}
		if len(changes) == 0 && len(cursor) > 0 && !strings.Contains(string(cursor), `"7"`) {
			t.Errorf("no change from %q", cursor)
		}
		for _, c := range changes {
			if _, err := events.Encode(c); err != nil {
				t.Errorf("cannot be published: %v", err)
			}
		}
		if tags, _, _ := poll(t, w, next); tags != nil {
			t.Errorf("the next poll finds %q", tags)
		}
	})
}

// Whatever RingCentral lists, a poll fails or yields what can be published and
// gone on from.
func FuzzRoleList(f *testing.F) {
	for _, s := range []string{
		`{"records":[]}`, `{"records":[{"id":"7","lastUpdated":"2026-01-02T03:04:05.000Z"}]}`, `{"records":null}`,
		`{"records":[{"id":7}]}`, `{"records":[{"id":"7","lastUpdated":"99999-01-02T03:04:05Z"}]}`,
		`{"records":[{"id":"7","permissions":[{}]},{"id":"7"}]}`, `{"records":[{"id":"\ud800"}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, list []byte) {
		w, ctx := fuzzed(t, testConfig())
		w.vendor.says(rolesRoute, 200, string(list))
		changes, next, err := w.Poll(ctx, []byte(`{"v":1,"n":0,"roles":{"8":"x"}}`))
		modest(t, err)
		if (err == nil) != (len(next) > 0) {
			t.Errorf("cursor %q beside %v", next, err)
		}
		for _, c := range changes {
			if _, err := events.Encode(c); err != nil {
				t.Errorf("cannot be published: %v", err)
			}
		}
	})
}
