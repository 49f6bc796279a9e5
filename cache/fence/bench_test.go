package fence_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
)

// BenchmarkFill is begin and commit of an entry with 24 grants and 4 tags,
// against writing the same hash with its expiry and no protection.
func BenchmarkFill(b *testing.B) {
	db := cachetest.Redis(b)
	store := openStore(b, db)
	f := fill(events.SubjectTag("42"), events.RoleTag("7"), events.AppTag)
	for i := range 24 {
		f.Fields = append(f.Fields, fmt.Sprintf("permission/P%d", i), "Self")
	}
	b.Run("bare", func(b *testing.B) {
		values := make([]any, len(f.Fields))
		for i, v := range f.Fields {
			values[i] = v
		}
		for b.Loop() {
			pipe := db.Pipeline()
			pipe.HSet(b.Context(), "bare", values...)
			pipe.Expire(b.Context(), "bare", time.Minute)
			if _, err := pipe.Exec(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("fence", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			name := cache.EntryName(ref(fmt.Sprint(i)))
			begun, err := store.Begin(b.Context(), home, name, fence.Want{})
			if err != nil || begun.Lease == nil {
				b.Fatal(begun, err)
			}
			if o, err := store.Commit(b.Context(), begun.Lease, f); err != nil || !o.Stored {
				b.Fatal(o, err)
			}
		}
	})
}

// BenchmarkInvalidate drops one subject that is alive, one that is not, and
// the 10,000 holders of a role.
func BenchmarkInvalidate(b *testing.B) {
	db := cachetest.Redis(b)
	store := openStore(b, db)
	put := func(b *testing.B, subject string) {
		b.Helper()
		begun, err := store.Begin(b.Context(), home, cache.EntryName(ref(subject)), fence.Want{})
		if err != nil || begun.Lease == nil {
			b.Fatal(begun, err)
		}
		f := fill(events.SubjectTag(events.Subject(subject)), events.RoleTag("7"))
		if _, err := store.Commit(b.Context(), begun.Lease, f); err != nil {
			b.Fatal(err)
		}
	}
	drop := func(b *testing.B, t events.Tag, alive int) {
		b.Helper()
		in, err := store.Invalidate(b.Context(), home, t)
		if err != nil || len(in.Alive) != alive {
			b.Fatal(len(in.Alive), err)
		}
	}
	b.Run("alive", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			put(b, "42")
			b.StartTimer()
			drop(b, events.SubjectTag("42"), 1)
		}
	})
	b.Run("absent", func(b *testing.B) {
		for b.Loop() {
			drop(b, events.SubjectTag("43"), 0)
		}
	})
	b.Run("10000 holders", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			for i := range 10_000 {
				put(b, fmt.Sprint(i))
			}
			b.StartTimer()
			drop(b, events.RoleTag("7"), 10_000)
		}
	})
}
