package budget_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/subscriptions"
)

// come lets callers ask one after the other and returns who was granted a call;
// turns is how long until the others' turns, in whole seconds.
func (b *bench) come(as cache.Purpose, limit int, callers ...string) (got []string, turns []int) {
	b.t.Helper()
	for _, name := range callers {
		c, wait := askAs(cache.WithCaller(b.t.Context(), name), b.t, b, as, perMinute(limit))
		if c != nil {
			end([]subscriptions.Call{c}, subscriptions.Said{})
			got = append(got, name)
		} else {
			turns = append(turns, int(wait.Seconds()))
		}
	}
	return got, turns
}

// wants compares who was granted a call.
func wants(t *testing.T, when string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

func TestATurnIsItsCallersOwn(t *testing.T) {
	b := newBench(t)
	b.come(cache.ForReader, 2, "x", "y")
	if _, turns := b.come(cache.ForReader, 2, "a", "b", "c"); !cmp.Equal(turns, []int{60, 60, 120}) {
		t.Errorf("turns in %d s", turns)
	}
	b.pass(minute)
	got, turns := b.come(cache.ForReader, 2, "new", "c", "b", "a")
	wants(t, "at the turn of a and b", got, "b", "a")
	if !cmp.Equal(turns, []int{60, 60}) { // c's is earlier by what has passed since
		t.Errorf("the turns of a newcomer and of c in %d s", turns)
	}
	b.pass(minute)
	got, _ = b.come(cache.ForReader, 2, "newer", "new", "c", "newer")
	wants(t, "at the turn of c", got, "new", "c")
}

func TestWhoAsksEarlyKeepsItsTurn(t *testing.T) {
	b := newBench(t)
	b.come(cache.ForReader, 1, "x")
	b.come(cache.ForReader, 1, "early", "other")
	for _, left := range []int{40, 20} {
		b.pass(20 * time.Second)
		if _, turns := b.come(cache.ForReader, 1, "other", "early"); !cmp.Equal(turns, []int{60 + left, left}) {
			t.Errorf("turns in %d s, with %d s left", turns, left)
		}
	}
	b.pass(20 * time.Second)
	got, _ := b.come(cache.ForReader, 1, "other", "early")
	wants(t, "at the turn", got, "early")
}

func TestWhoComesTooLateIsANewcomer(t *testing.T) {
	b := newBench(t)
	b.come(cache.ForReader, 1, "x")
	b.come(cache.ForReader, 1, "late", "patient")
	b.pass(minute + 3*time.Second)
	got, _ := b.come(cache.ForReader, 1, "passer-by")
	wants(t, "within a twentieth of the window", got)
	b.pass(time.Second)
	got, _ = b.come(cache.ForReader, 1, "passer-by")
	wants(t, "after it", got, "passer-by")
	b.come(cache.ForReader, 1, "late")
	b.pass(minute - 4*time.Second)
	b.come(cache.ForReader, 1, "patient") // for whom it is too early: the passer-by was faster
	b.pass(4 * time.Second)
	got, _ = b.come(cache.ForReader, 1, "late", "patient")
	wants(t, "at the next turn", got, "patient")
}

// TestACrowdAfterAPenalty: all come back at once, the last first; those are
// served who came first.
func TestACrowdAfterAPenalty(t *testing.T) {
	b := newBench(t)
	end(granted(t, b, cache.ForReader, perMinute(5), 1), subscriptions.Said{Penalty: 2 * minute})
	var crowd, back []string
	for i := range 20 {
		crowd = append(crowd, fmt.Sprint(i))
		back = append(back, fmt.Sprint(19-i))
	}
	b.come(cache.ForReader, 5, crowd...)
	b.pass(2 * minute)
	got, _ := b.come(cache.ForReader, 5, back...)
	wants(t, "the first", got, "4", "3", "2", "1", "0")
	b.pass(minute)
	got, _ = b.come(cache.ForReader, 5, back...)
	wants(t, "a window later", got, "9", "8", "7", "6", "5")
}

// TestWhoIsGrantedWaitsNowhere: not for another purpose either.
func TestWhoIsGrantedWaitsNowhere(t *testing.T) {
	b := newBench(t)
	b.come(cache.ForReader, 2, "x")
	b.come(cache.ForChange, 2, "a")
	b.come(cache.ForReader, 2, "a")
	all, err := b.Standings(t.Context(), lane.Provider)
	if err != nil || len(all) != 1 || all[0].Waiting != [4]int{} {
		t.Errorf("waiting: %+v, %v", all, err)
	}
}

// TestTheNamelessWaitToo: each is somebody else.
func TestTheNamelessWaitToo(t *testing.T) {
	b := newBench(t)
	b.come(cache.ForReader, 2, "x", "y")
	for range 2 {
		askAs(t.Context(), t, b, cache.ForReader, perMinute(2))
	}
	if _, turns := b.come(cache.ForReader, 2, "a"); !cmp.Equal(turns, []int{120}) {
		t.Errorf("turn in %d s", turns)
	}
}

// TestWhoIsFarBehindKeepsItsTurn: turns are never farther off than ten windows,
// from when they are first told.
func TestWhoIsFarBehindKeepsItsTurn(t *testing.T) {
	b := newBench(t)
	b.come(cache.ForReader, 1, "x", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12")
	for _, left := range []int{600, 540, 480} {
		if _, turns := b.come(cache.ForReader, 1, "last"); !cmp.Equal(turns, []int{left}) {
			t.Errorf("turn in %d s, want %d", turns, left)
		}
		b.pass(minute)
	}
}
