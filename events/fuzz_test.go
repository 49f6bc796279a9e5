package events_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/events"
)

// maxText bounds an error: an id has 3 KiB at most, and four times that quoted.
const maxText = 13 << 10

// refused wants an error that is shorter than what it speaks of may be.
func refused(t *testing.T, err error) {
	t.Helper()
	if n := len(err.Error()); n > maxText {
		t.Fatalf("an error of %d bytes: %.200s", n, err)
	}
}

// What was read can be written, and reads as the same again; what was not is
// nothing and an error.
func FuzzDecode(f *testing.F) {
	for _, c := range []events.Change{full(), minimal()} {
		b, err := events.Encode(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"specversion":"1.0","type":"com.rescindhq.change.v1","id":"1",` +
		`"time":"0001-01-01T00:00:00+01:00","data":{"provider":"\ud800","tenant":"t","tags":["tenant"]}}`))
	long := strings.Repeat("9", 20_000)
	for _, s := range []string{
		`{"time":"` + long + `"}`, `{"id":` + long + `}`, `{"specversion":"` + long + `"}`, strings.Repeat("[",
			11_000),
		`{"specversion":"1.0","type":"com.rescindhq.change.v1","id":"` + strings.Repeat(`\u0001`, 3072) +
			`","data":{"occurred":"` + long + `"}}`,
		`{"specversion":"1.0","type":"com.rescindhq.change.v1","id":"1","id":"2",` +
			`"data":{"provider":"p","tenant":"t","tags":["tenant","` + long + `:"]}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := events.Decode(b)
		if err != nil {
			refused(t, err)
			if !cmp.Equal(c, events.Change{}) {
				t.Fatalf("%+v beside %v", c, err)
			}
			return
		}
		again, err := events.Encode(c)
		if err != nil {
			t.Fatalf("read but not written: %v", err)
		}
		back, err := events.Decode(again)
		if err != nil {
			t.Fatalf("written but not read: %v", err)
		}
		if diff := cmp.Diff(c, back); diff != "" {
			t.Fatalf("differs:\n%s", diff)
		}
	})
}

// A tag has one text, and what one side accepts the other does.
func FuzzParseTag(f *testing.F) {
	for _, s := range append(nasty, "subject:42", "role:a:b", "app", "app:1", "tenant", "x", ":") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tag, err := events.ParseTag(text)
		if err != nil {
			refused(t, err)
			return
		}
		if tag.String() != text {
			t.Fatalf("%q becomes %q", text, tag)
		}
		b, err := json.Marshal(tag)
		if err != nil {
			t.Fatal(err)
		}
		var back events.Tag
		if err := json.Unmarshal(b, &back); err != nil || back != tag {
			t.Fatalf("%s becomes %+v, %v", b, back, err)
		}
	})
}

// Any text survives escaping, which is safe, one token, and canonical.
func FuzzUnescape(f *testing.F) {
	for _, s := range nasty {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := events.Escape(s)
		if back, err := events.Unescape(e); err != nil || back != s {
			t.Fatalf("%q becomes %q, %v", s, back, err)
		}
		if s != "" && (!tokenSafe(e) || strings.Contains(e, ".")) {
			t.Fatalf("%q escapes to %q", s, e)
		}
		u, err := events.Unescape(s)
		if err != nil {
			return
		}
		if back, err := events.Unescape(events.Escape(u)); err != nil || back != u {
			t.Fatalf("%q reads as %q, then as %q, %v", s, u, back, err)
		}
	})
}

func FuzzParseChangeSubject(f *testing.F) {
	for _, s := range nasty {
		f.Add(events.ChangeSubject(events.Home{Provider: events.Provider(s), Tenant: "t"}))
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := events.ParseChangeSubject(s)
		if err != nil {
			refused(t, err)
			return
		}
		back, err := events.ParseChangeSubject(events.ChangeSubject(h))
		if err != nil || back != h {
			t.Fatalf("%q is %+v, then %+v, %v", s, h, back, err)
		}
	})
}

func FuzzParseRefreshSubject(f *testing.F) {
	h := events.Home{Provider: "p", Tenant: "t"}
	for _, s := range nasty {
		f.Add(events.RefreshSubject(events.Ref{Home: h, Subject: events.Subject(s)}))
		f.Add(events.RefreshSubject(events.Ref{Home: h, Subject: "s", Resource: events.Resource(s)}))
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := events.ParseRefreshSubject(s)
		if err != nil {
			refused(t, err)
			return
		}
		back, err := events.ParseRefreshSubject(events.RefreshSubject(r))
		if err != nil || back != r {
			t.Fatalf("%q is %+v, then %+v, %v", s, r, back, err)
		}
	})
}
