package service_test

import (
	"context"
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cmd/config"
)

// Where the provider does tell the holders of an edited role, no more than
// that must be needed.
func TestARoleIsEditedAndItsHoldersAreTold(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			o.sim.Quirks.RoleEditHints = true
			w := startWorld(t, o)
			before := w.expect(bea, cache.Granted, abroad)
			w.removeFromRole(usualRole, "InternationalCalls", "PremiumDestinations")
			w.refreshed(bea, before)
			w.expect(bea, cache.Denied, abroad)
		})
	}
}

// An entry is no fresher than the oldest part of it, and ends with the first.
func TestNoEntryOutlivesItsParts(t *testing.T) {
	w := startWorld(t, options{edit: func(c *config.Config) { c.Worker.Life = cache.Ceiling }})
	w.expect(bea, cache.Granted, abroad)
	began, until := w.lifeOfPart("role:" + usualRole)
	w.expect(cem, cache.Granted, abroad)
	ctx, entry := context.Background(), cache.Keys{}.Entry(ref(cem))
	asOf, err := w.rdb.HGet(ctx, entry, cache.FieldAsOf).Int64()
	end, err2 := w.rdb.HGet(ctx, entry, cache.FieldUntil).Int64()
	if err = errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if asOf > began {
		t.Errorf("_asof is %d ms later than the fetch of a role that went into it", asOf-began)
	}
	if end > until {
		t.Errorf("_until is %d ms later than that of a role that went into it", end-until)
	}
}

// lifeOfPart is when a part was fetched and when it ends, in unix ms.
func (w *world) lifeOfPart(name string) (asOf, until int64) {
	w.t.Helper()
	key := cache.Keys{}.Named(home, cache.PartName(name))
	values := []*redis.StringCmd{
		w.rdb.HGet(context.Background(), key, cache.FieldAsOf),
		w.rdb.HGet(context.Background(), key, cache.FieldUntil),
	}
	asOf, err := values[0].Int64()
	until, err2 := values[1].Int64()
	if err = errors.Join(err, err2); err != nil {
		w.t.Fatal(err)
	}
	return asOf, until
}
