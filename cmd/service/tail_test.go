package service_test

import (
	"context"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/cmd/service"
)

const listRolesCall = "listUserRoles"

// polling is a world whose roles are polled more often than one may configure.
func polling(t *testing.T, o options, interval time.Duration) *world {
	t.Helper()
	o.idle = true
	w := startWorld(t, o)
	w.worker, w.listener = w.startPolling(interval), w.startListener()
	w.subscribed()
	w.await("the first look at the roles", func() bool { return w.sim.Calls(listRolesCall) > 0 })
	return w
}

func (w *world) startPolling(interval time.Duration) *running[*service.Worker] {
	w.t.Helper()
	it, err := service.NewWorkerPolling(context.Background(), w.cfg, w.logger("worker"), interval)
	if err != nil {
		w.t.Fatal(err)
	}
	return run(w.t, it)
}

// The provider sends nothing when a role is edited, and nobody else tells.
func TestAnEditedRoleIsFoundByPolling(t *testing.T) {
	const interval = time.Second
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			w := polling(t, o, interval)
			before := map[string]lookup.Decision{}
			for _, who := range []string{bea, cem} {
				before[who] = w.expect(who, cache.Granted, abroad)
			}
			told := w.info().Messages
			// The baseline must be older than the edit, or the edit is in it.
			was := w.sim.Calls(listRolesCall)
			w.await("another look", func() bool { return w.sim.Calls(listRolesCall) > was+1 })
			if got := w.info().Messages; got != told {
				t.Errorf("%d changes although nothing has changed", got-told)
			}
			dropped, start := w.watch(), time.Now()
			w.removeFromRole(usualRole, "InternationalCalls", "PremiumDestinations")
			<-dropped
			t.Logf("the first entry ended %s after the edit; the interval is %s", time.Since(start), interval)
			for _, who := range []string{bea, cem} {
				w.refreshed(who, before[who])
				w.expect(who, cache.Denied, abroad)
				w.expect(who, cache.Granted, calls)
			}
			if got := w.info().Messages - told; got != 1 {
				t.Errorf("%d changes, want 1", got)
			}
		})
	}
}

// One worker polls for all; when it stops another goes on from its cursor.
func TestAnotherWorkerGoesOnPolling(t *testing.T) {
	const interval = time.Second
	w := polling(t, options{}, interval)
	before := w.expect(bea, cache.Granted, abroad)
	was := w.sim.Calls(listRolesCall)
	w.await("the cursor is saved", func() bool { return w.sim.Calls(listRolesCall) > was+1 })
	first := w.worker
	w.worker = w.startPolling(interval)
	first.stop(t)
	dropped := w.watch()
	w.removeFromRole(usualRole, "InternationalCalls", "PremiumDestinations")
	<-dropped
	w.refreshed(bea, before)
	w.expect(bea, cache.Denied, abroad)
}
