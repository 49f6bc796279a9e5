package model_test

import (
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/cache/races/model"
	"github.com/rescindhq/rescind/events"
)

var (
	replid = strings.Repeat("0a", 20)
	home   = events.Home{Provider: "ringcentral", Tenant: "races"}
	roles  = []events.Tag{events.RoleTag("7")}
)

// BenchmarkFill is a begin, a commit and an invalidation.
func BenchmarkFill(b *testing.B) {
	s := model.New(time.Now(), replid)
	defer s.Close()
	store, err := fence.Open(b.Context(), s.Client(), cache.Keys{})
	if err != nil {
		b.Fatal(err)
	}
	fields := []string{"_covers", "permission", "permission/A", "3"}
	fill := fence.Fill{Fields: fields, Tags: roles, Life: time.Minute}
	for b.Loop() {
		begun, err := store.Begin(b.Context(), home, "e:1", fence.Want{})
		if err != nil || begun.Lease == nil {
			b.Fatal(begun, err)
		}
		if o, err := store.Commit(b.Context(), begun.Lease, fill); err != nil || !o.Stored {
			b.Fatal(o, err)
		}
		if in, err := store.Invalidate(b.Context(), home, roles...); err != nil || len(in.Alive) != 1 {
			b.Fatal(in, err)
		}
	}
}
