package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/ask"
)

// operate makes a call for operators, and fails if it changed what the cache holds.
func (w *world) operate(path string, question map[string]any, answer any) {
	w.t.Helper()
	before := w.cached()
	body, err := json.Marshal(question)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost,
		"http://"+w.worker.it.Addr()+path, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+askToken)
	resp, err := w.client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: status %d", path, resp.StatusCode)
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(before, w.cached()); diff != "" {
		w.t.Errorf("%s has changed the cache (-before +after):\n%s", path, diff)
	}
}

// cached is all that the cache holds.
func (w *world) cached() map[string]string {
	w.t.Helper()
	ctx, all := context.Background(), map[string]string{}
	for _, k := range w.keys("perm:*") {
		if w.rdb.Type(ctx, k).Val() == "hash" {
			all[k] = fmt.Sprint(w.rdb.HGetAll(ctx, k).Val())
			continue
		}
		all[k] = fmt.Sprint(w.rdb.ZRangeWithScores(ctx, k, 0, -1).Val())
	}
	return all
}

// An edited role is told by no notice, and its definition is kept as a part: asking
// the provider finds it all the same, and leaves all as it was.
func TestOperatorsFindWhatNobodyTold(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			w := startWorld(t, o)
			w.expect(bea, cache.Granted, abroad)
			w.expect(cem, cache.Granted, calls)
			question := map[string]any{"provider": home.Provider, "tenant": account, "subject": bea}
			type answer struct {
				Cached, Provider *struct{ Tags []string }
				Differences      []map[string]any
				Match            bool
			}
			var a answer
			w.operate(ask.VerifyPath, question, &a)
			if a.Cached == nil || a.Provider == nil || !a.Match || len(a.Differences) > 0 {
				t.Fatalf("before it was edited: %+v", a)
			}
			if diff := cmp.Diff(a.Provider.Tags, a.Cached.Tags); diff != "" ||
				!slices.Contains(a.Cached.Tags, "subject:"+bea) {
				t.Errorf("tags (-provider's +cached):\n%s", diff)
			}
			w.removeFromRole(usualRole, "InternationalCalls", "PremiumDestinations")
			a = answer{}
			w.operate(ask.VerifyPath, question, &a)
			if a.Match || !slices.ContainsFunc(a.Differences, func(d map[string]any) bool {
				return d["grant"] == string(abroad) && d["cached"] != nil && d["provider"] == nil
			}) {
				t.Errorf("after it was edited: %+v", a)
			}
			w.expect(bea, cache.Granted, abroad) // nothing was mended either
		})
	}
}

func TestOperatorsSeeWhatAChangeWouldCost(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			w := startWorld(t, o)
			w.expect(bea, cache.Granted, calls)
			w.expect(cem, cache.Granted, calls)
			var got struct {
				Entries      []struct{ Subject, Resource string }
				More         bool
				Alive, Calls int
			}
			w.operate(ask.ReachPath, map[string]any{"provider": home.Provider, "tenant": account,
				"tags": []string{"tenant", "subject:" + cem}}, &got)
			var names []string
			for _, e := range got.Entries {
				names = append(names, e.Subject+e.Resource)
			}
			if diff := cmp.Diff([]string{bea, cem}, names); diff != "" || got.More || got.Alive != 2 {
				t.Errorf("%+v (-want +got):\n%s", got, diff)
			}
			// Before Redis 7.2 it cannot be told how they were learnt: then the dearest counts.
			if each := got.Calls / 2; each != 3 && (each != 1 || o.exchange) {
				t.Errorf("%d calls for two entries", got.Calls)
			}
		})
	}
}
