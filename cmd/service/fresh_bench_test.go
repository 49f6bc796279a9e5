package service_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// From a notice to the fresh entry, one at a time: what the provider takes is
// told apart by asking one that takes no time.
func BenchmarkANoticeUntilTheEntryIsFresh(b *testing.B) {
	const notices = 120
	for _, mode := range slices.Sorted(maps.Keys(modes)) {
		for _, takes := range []time.Duration{0, providerTime} {
			b.Run(fmt.Sprintf("%s/provider=%s", mode, takes), func(b *testing.B) {
				o := modes[mode]
				o.quiet = true
				w := startWorld(b, o)
				w.expect(bea, cache.Granted, abroad)
				w.fault(sim.Fault{Kind: sim.Delay, Delay: takes})
				var took []time.Duration
				before := w.sim.AllCalls()
				for b.Loop() {
					took = append(took, w.notices(bea, notices)...)
				}
				b.Logf("%s; calls %v", spread(took), since(before, w.sim.AllCalls()))
				report(b, "ms", took)
			})
		}
	}
}

// notices changes a subject's role to and fro, and returns how long after each
// change its entry said so.
func (w *world) notices(subject string, n int) []time.Duration {
	w.t.Helper()
	words, key := w.watch(), cache.Keys{}.Entry(ref(subject))
	took := make([]time.Duration, 0, n)
	for i := range n {
		role, granted := lesserRole, false
		if i%2 == 1 {
			role, granted = usualRole, true
		}
		sent := time.Now()
		w.assign(subject, role)
		for deadline := time.After(limit); ; {
			select {
			case <-words:
			case <-deadline:
				w.t.Fatalf("notice %d: no fresh entry within %s", i, limit)
			}
			v, err := w.rdb.HMGet(context.Background(), key, cache.FieldAsOf, string(abroad)).Result()
			if err != nil {
				w.t.Fatal(err)
			}
			if v[0] != nil && (v[1] != nil) == granted { // dropped is neither
				break
			}
		}
		took = append(took, time.Since(sent))
	}
	return took
}

// A role with ten thousand live holders is edited: from the publish of the
// change until the last of them cannot be used, against the removal of as many
// keys by hand. Each run has a world of its own, so that the refreshes of an
// earlier one are no load.
func BenchmarkARoleOfTenThousandIsEdited(b *testing.B) {
	const holders, runs = 10_000, 5
	for name, always := range syncs {
		b.Run(name, func(b *testing.B) {
			var dropped, byHand []time.Duration
			for n := range runs {
				b.Run(fmt.Sprintf("run=%d", n+1), func(b *testing.B) {
					w := startWorld(b, options{quiet: true, syncAlways: always})
					for round := 0; b.Loop(); round++ {
						subjects := names(round, holders)
						byHand = append(byHand, w.unlinkByHand(holders))
						w.holders(subjects, usualRole)
						dropped = append(dropped, w.editRole(subjects, usualRole))
					}
					b.ReportMetric(dropped[len(dropped)-1].Seconds()*1000, "last-unusable-ms")
					b.ReportMetric(byHand[len(byHand)-1].Seconds()*1000, "unlink-by-hand-ms")
					b.ReportMetric(0, "ns/op") // says nothing here
					b.Logf("so far: last unusable %s; by hand %s", spread(dropped), spread(byHand))
				})
			}
		})
	}
}

// unlinkByHand is how long one UNLINK of so many hashes takes that are like
// entries.
func (w *world) unlinkByHand(n int) time.Duration {
	w.t.Helper()
	ctx, keys, pipe := context.Background(), make([]string, n), w.rdb.Pipeline()
	for i := range keys {
		keys[i] = fmt.Sprint("hand:", i)
		pipe.HSet(ctx, keys[i], "_asof", "1790000000000", "_until", "1790000060000",
			"_version", "1790000000000000", "_covers", "permission", "_confirmed", "1",
			"_basis", seededBasis, string(abroad), "Self", string(calls), "Self")
	}
	if _, err := pipe.Exec(ctx); err != nil {
		w.t.Fatal(err)
	}
	start := time.Now()
	if got, err := w.rdb.Unlink(ctx, keys...).Result(); err != nil || got != int64(n) {
		w.t.Fatalf("unlinked %d, %v; want %d", got, err, n)
	}
	return time.Since(start)
}

// editRole is how long after the publish of a role's change the last of its
// holders' entries is gone.
func (w *world) editRole(subjects []string, role string) time.Duration {
	w.t.Helper()
	if n := w.seeded(subjects); n != len(subjects) {
		w.t.Fatalf("%d of %d are there", n, len(subjects))
	}
	index := cache.Keys{}.Index(home, events.RoleTag(role))
	start := time.Now()
	w.tell(fmt.Sprint("edited-", start.UnixNano()), events.RoleTag(role))
	w.await("the index is empty", func() bool { // cheaper to ask than ten thousand keys
		n, err := w.rdb.ZCard(context.Background(), index).Result()
		return err == nil && n == 0
	})
	took := time.Since(start)
	if n := w.seeded(subjects); n != 0 {
		w.t.Errorf("%d old entries are there although the index is empty", n)
	}
	return took
}

// seeded counts the entries that a test, and no provider, has put there.
func (w *world) seeded(subjects []string) (n int) {
	w.t.Helper()
	ctx, pipe := context.Background(), w.rdb.Pipeline()
	for _, s := range subjects {
		pipe.HGet(ctx, cache.Keys{}.Entry(ref(s)), cache.FieldBasis)
	}
	replies, err := pipe.Exec(ctx)
	if err != nil && !errors.Is(err, redis.Nil) {
		w.t.Fatal(err)
	}
	for _, r := range replies {
		if r.(*redis.StringCmd).Val() == seededBasis {
			n++
		}
	}
	return n
}

// crowdCase is an account, and who is kept of it when a role of all is edited.
type crowdCase struct {
	account, alive, fetchers int
	medium                   int // calls a minute; light are the vendor's 50
}

// Two hundred who are read every second, under the vendor's limits and by the
// clock of the wall: until the last of them is fresh after their role was
// edited. Where nobody's profile was tried before, each costs a medium call
// once; 240 a minute are the vendor's 40, and the 200 that only the first
// reading makes.
func BenchmarkTheBusyAfterTheirRoleWasEdited(b *testing.B) {
	var cases []crowdCase
	for _, fetchers := range []int{8, 32, 64} {
		cases = append(cases,
			crowdCase{account: 200, alive: 200, fetchers: fetchers, medium: 240},
			crowdCase{account: 10_000, alive: 200, fetchers: fetchers, medium: 240},
			crowdCase{account: 10_000, alive: 10_000, fetchers: fetchers, medium: 40})
	}
	for _, c := range cases {
		b.Run(fmt.Sprintf("account=%d/alive=%d/medium=%d/fetchers=%d", c.account, c.alive, c.medium, c.fetchers),
			func(b *testing.B) {
				for b.Loop() {
					c.run(b)
				}
			})
	}
}

const (
	busy       = 200
	busyBound  = 5 * time.Minute
	busyPeriod = time.Second / busy // between one reader's beat and the next one's
)

func (c crowdCase) run(b *testing.B) {
	o := options{quiet: true, idle: true, edit: func(cfg *config.Config) { cfg.Worker.Fetchers = c.fetchers },
		sim: sim.Options{Limits: map[string]sim.Limit{"medium": {Calls: c.medium}}}}
	x := tap(b, &o)
	w := startWorld(b, o)
	everybody := names(0, c.account)
	w.settled(everybody, usualRole)
	w.opens()
	w.expect(cem, cache.Granted, abroad) // token, dictionary and role are there
	w.holders(everybody[:c.alive], usualRole)
	w.fault(sim.Fault{Kind: sim.Delay, Delay: providerTime})
	before := w.sim.AllCalls()
	w.removeFromRole(usualRole, "InternationalCalls", "PremiumDestinations")
	f := w.followBusy(everybody[:busy])
	made, refused := since(before, w.sim.AllCalls()), x.statuses()[http.StatusTooManyRequests]
	b.Logf("%+v\n%d of %d fresh: half after %s, the last after %s; %d readings, %d%% unknown\n"+
		"roles read alone: %d, pages of the listing: %d, tries of a profile: %d (403: %d), 429: %d; calls: %v",
		c, len(f.fresh), busy, f.at(50), f.at(100), f.reads, 100*f.unknown/max(1, f.reads),
		made[rolesCall], made[listingCall], made[profileCall], x.statuses()[http.StatusForbidden], refused, made)
	if refused > 0 {
		b.Errorf("%d calls were answered 429", refused)
	}
	if f.wrong > 0 {
		b.Errorf("%d answers were fetched after the edit and grant what it took", f.wrong)
	}
	report(b, "ms", f.fresh)
}

// followed is what the readers saw after an edit.
type followed struct {
	fresh                 []time.Duration // of each reader who came to see a fresh answer
	reads, unknown, wrong int
}

// at is when so many percent of the readers had seen a fresh answer.
func (f followed) at(percent int) time.Duration {
	n := (busy*percent + 99) / 100
	if len(f.fresh) < n {
		return busyBound
	}
	slices.Sort(f.fresh)
	return f.fresh[n-1].Round(10 * time.Millisecond)
}

// followBusy tells of the edit, and reads until each has seen it.
func (w *world) followBusy(subjects []string) (f followed) {
	w.t.Helper()
	app := w.application()
	edited := time.Now()
	w.tell("role-edited", events.RoleTag(usualRole))
	var mu sync.Mutex
	var group sync.WaitGroup
	for i, subject := range subjects {
		group.Go(func() {
			time.Sleep(time.Duration(i) * busyPeriod) // the pace: they do not all ask at once
			beat(int(busyBound/time.Second), func() bool {
				d, err := app.Check(context.Background(), ref(subject), abroad)
				mu.Lock()
				defer mu.Unlock()
				f.reads++
				switch {
				case err != nil || d.State == cache.Unknown:
					f.unknown++
				case d.AsOf.Before(edited): // kept from before
				case d.State == cache.Granted:
					f.wrong++
				default:
					f.fresh = append(f.fresh, time.Since(edited))
					return true
				}
				return false
			})
		})
	}
	group.Wait()
	return f
}
