package lookup_test

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/lookup"
)

// FuzzJudge holds the short cut against the contract: what is read from a few
// fields must be what [cache.Decode] and [cache.Entry.Judge] say of them all.
func FuzzJudge(f *testing.F) {
	now := time.Now()
	until := now.Add(time.Minute).UnixMilli()
	sound := "_asof=1795255200123\n_until=" + millis(time.Minute) + "\n_version=7\n_covers=permission,scope\n"
	f.Add(sound + "permission/ReadMessages=Self\nscope/ReadAccounts=*\n_confirmed=1\n_basis=test")
	f.Add(sound + "permission/ReadMessages=\nwhy/scope/ReadAccounts=no licence")
	f.Add(sound + "_until=" + millis(-time.Minute))
	f.Add(sound + "_version=x")
	f.Add("_covers=,permission,\npermission/ReadMessages=*")
	f.Fuzz(func(t *testing.T, text string) {
		found := map[string]string{}
		for line := range strings.Lines(text) {
			if k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
				found[k] = v
			}
		}
		need := []cache.Grant{read, scope}
		values := make([]any, 0, 10)
		asked := map[string]string{}
		for _, name := range lookup.Fields(need) {
			v, ok := found[name]
			if !ok {
				values = append(values, nil)
				continue
			}
			values, asked[name] = append(values, v), v
		}
		got, err := lookup.Judge(now, values, need)
		e, wantErr := cache.Decode(maps.Clone(asked))
		if _, there := asked["_until"]; there && (err == nil) != (wantErr == nil) {
			t.Fatalf("error %v, want %v", err, wantErr)
		}
		if want := e.Judge(now, need...); got.State != want { // unknown beside an error
			t.Fatalf("%q: %s, want %s, %v", asked, got.State, want, wantErr)
		}
		if err != nil && !errors.Is(err, cache.ErrUnreadable) {
			t.Fatal(err)
		}
		if got.Allowed() && (got.Until.UnixMilli() > until+cache.Ceiling.Milliseconds() || !got.Until.After(now)) {
			t.Fatalf("allowed until %s", got.Until)
		}
	})
}
