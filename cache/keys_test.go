package cache_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
)

func ExampleKeys() {
	var keys cache.Keys
	alice := events.Ref{Home: events.Home{Provider: "ringcentral", Tenant: "37439510"}, Subject: "42"}
	folder := events.Ref{Home: events.Home{Provider: "box", Tenant: "a:b"}, Subject: "7", Resource: "{11}"}
	fmt.Println(keys.Entry(alice))
	fmt.Println(keys.Entry(folder))
	fmt.Println(keys.Named(alice.Home, cache.PartName("role:7")))
	fmt.Println(keys.Changed(alice.Home))
	fmt.Println(keys.Fence(alice.Home))
	fmt.Println(keys.Index(alice.Home, events.RoleTag("a:7")))
	fmt.Println(keys.Lease(alice.Home, cache.EntryName(alice)))
	// Output:
	// perm:v1:{ringcentral:37439510}:e:42
	// perm:v1:{box:a%3Ab}:e:7:%7B11%7D
	// perm:v1:{ringcentral:37439510}:p:role%3A7
	// perm:v1:{ringcentral:37439510}:changed
	// perm:v1:{ringcentral:37439510}:f
	// perm:v1:{ringcentral:37439510}:t:role:a%3A7
	// perm:v1:{ringcentral:37439510}:l:e:42
}

func TestEntryKey(t *testing.T) {
	other, err := cache.NewKeys("my-app_1")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		keys cache.Keys
		ref  events.Ref
		want string
	}{
		"a subject":       {cache.Keys{}, ref("42", ""), "perm:v1:{ringcentral:37439510}:e:42"},
		"on a resource":   {cache.Keys{}, ref("42", "11"), "perm:v1:{ringcentral:37439510}:e:42:11"},
		"another prefix":  {other, ref("42", ""), "my-app_1:v1:{ringcentral:37439510}:e:42"},
		"a colon":         {cache.Keys{}, ref("4:2", "1:1"), "perm:v1:{ringcentral:37439510}:e:4%3A2:1%3A1"},
		"braces":          {cache.Keys{}, ref("{x}", ""), "perm:v1:{ringcentral:37439510}:e:%7Bx%7D"},
		"a per cent sign": {cache.Keys{}, ref("%3A", ""), "perm:v1:{ringcentral:37439510}:e:%253A"},
		"control characters": {
			cache.Keys{}, ref("\x00\n\x1f\x7f", ""), "perm:v1:{ringcentral:37439510}:e:%00%0A%1F%7F",
		},
		"other scripts": {cache.Keys{}, ref("Größe/ü .*", ""), "perm:v1:{ringcentral:37439510}:e:Größe/ü .*"},
		"a home with all of it": {
			cache.Keys{}, events.Ref{Home: events.Home{Provider: "p}", Tenant: "{t:"}, Subject: "s"},
			"perm:v1:{p%7D:%7Bt%3A}:e:s",
		},
	} {
		if got := tc.keys.Entry(tc.ref); got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}

func TestNewKeys(t *testing.T) {
	for prefix, ok := range map[string]bool{
		"": true, "perm": true, "A-z_0": true, strings.Repeat("x", 32): true, strings.Repeat("x", 33): false,
		"a:b": false, "a{": false, "a b": false, "ü": false, "a\n": false,
	} {
		k, err := cache.NewKeys(prefix)
		if (err == nil) != ok {
			t.Errorf("prefix %q: %v", prefix, err)
		}
		if prefix == "" && k.Entry(ref("42", "")) != (cache.Keys{}).Entry(ref("42", "")) {
			t.Errorf("an empty prefix is not the usual one: %s", k.Entry(ref("42", "")))
		}
	}
}

// TestNoTwoKeysAreOne makes every kind of key of nasty ids.
func TestNoTwoKeysAreOne(t *testing.T) {
	var k cache.Keys
	made := map[string]string{}
	add := func(key, what string) {
		if before, taken := made[key]; taken {
			t.Errorf("%s is %q and %q", key, before, what)
		}
		made[key] = what
		if !strings.HasPrefix(key, "perm:v1:{ringcentral:37439510}:") || strings.Count(key, "{") != 1 {
			t.Errorf("%q leaves its slot: %s", what, key)
		}
		if strings.ContainsFunc(key, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			t.Errorf("%q has a control character", key)
		}
	}
	add(k.Fence(home), "fence")
	add(k.Changed(home), "changed")
	add(k.Index(home, events.TenantTag), "index of the tenant")
	for _, a := range nasty {
		add(k.Entry(ref(a, "")), "entry "+a)
		add(k.Lease(home, cache.EntryName(ref(a, ""))), "lease of entry "+a)
		add(k.Named(home, cache.PartName(a)), "part "+a)
		add(k.Lease(home, cache.PartName(a)), "lease of part "+a)
		add(k.Index(home, events.RoleTag(a)), "index of role "+a)
		add(k.Index(home, events.GroupTag(a)), "index of group "+a)
		for _, b := range nasty {
			add(k.Entry(ref(a, b)), "entry "+a+" on "+b)
		}
	}
}

func TestNames(t *testing.T) {
	for _, a := range nasty {
		for _, b := range append(nasty, "") {
			want := ref(a, b)
			n := cache.EntryName(want)
			if got, err := n.Ref(home); err != nil || got != want || !n.IsEntry() {
				t.Errorf("%q becomes %q, %v", want, got, err)
			}
		}
		part := cache.PartName(a)
		if part.IsEntry() {
			t.Errorf("part %q is an entry", part)
		}
		if got, err := part.Ref(home); err == nil {
			t.Errorf("part %q is %q", part, got)
		}
		tag := events.RoleTag(a)
		if got, err := cache.ParseTagName(cache.TagName(tag)); err != nil || got != tag {
			t.Errorf("%q becomes %q, %v", tag, got, err)
		}
	}
	for _, n := range []cache.Name{"", "e", "e:", "x:42", "e::7", "e:%4", "e:%3a", "e:a:%", "e:%FF"} {
		if got, err := n.Ref(home); err == nil {
			t.Errorf("name %q is %+v", n, got)
		}
	}
}

// Any pair of ids survives its name; any text is refused or names one entry.
func FuzzName(f *testing.F) {
	for i, s := range nasty {
		f.Add(s, nasty[len(nasty)-1-i])
	}
	f.Add("e:42", "")
	f.Fuzz(func(t *testing.T, a, b string) {
		if r := ref(a, b); r.Validate() == nil {
			if got, err := cache.EntryName(r).Ref(home); err != nil || got != r {
				t.Fatalf("%q becomes %q, %v", r, got, err)
			}
		}
		r, err := cache.Name(a).Ref(home)
		if err != nil {
			return
		}
		if again, err := cache.EntryName(r).Ref(home); err != nil || again != r {
			t.Fatalf("%q is %q, then %q, %v", a, r, again, err)
		}
	})
}
