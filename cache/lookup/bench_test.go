package lookup_test

import (
	"slices"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/lookup"
)

// BenchmarkCheck takes turns with a bare HMGET of the same fields, so that
// both see the same machine. x-bare is the ratio of the medians; the bar is 1.1.
func BenchmarkCheck(b *testing.B) {
	for name, need := range map[string][]cache.Grant{"one": {read}, "three": {read, scope, write}} {
		b.Run(name, func(b *testing.B) { benchmarkCheck(b, need) })
	}
}

func benchmarkCheck(b *testing.B, need []cache.Grant) {
	db := cachetest.Redis(b)
	r := ref("42", "")
	store(b, db, r, facts())
	c := client(b, db, lookup.Options{})
	key, fields := cache.Keys{}.Entry(r), lookup.Fields(need)
	ctx := b.Context()
	one := func() {
		if err := db.HMGet(ctx, key, fields...).Err(); err != nil {
			b.Fatal(err)
		}
	}
	other := func() {
		if d, err := c.Check(ctx, r, need...); err != nil || d.Version == 0 {
			b.Fatalf("%+v, %v", d, err)
		}
	}
	var bare, checked []time.Duration
	for b.Loop() {
		bare, checked = append(bare, took(one)), append(checked, took(other))
		checked, bare = append(checked, took(other)), append(bare, took(one))
	}
	b.ReportMetric(float64(median(bare)), "ns/bare")
	b.ReportMetric(float64(median(checked)), "ns/check")
	b.ReportMetric(float64(median(checked))/float64(median(bare)), "x-bare")
}

func took(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// BenchmarkJudge is what a check adds behind the network.
func BenchmarkJudge(b *testing.B) {
	db := cachetest.StandIn(b)
	store(b, db, ref("42", ""), facts())
	need := []cache.Grant{read, scope, write}
	names := lookup.Fields(need)
	values, err := db.HMGet(b.Context(), cache.Keys{}.Entry(ref("42", "")), names...).Result()
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if d, err := lookup.Judge(now, values, need); err != nil || d.State != cache.Denied {
			b.Fatal(d, err)
		}
	}
}
