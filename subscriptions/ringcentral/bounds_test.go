package ringcentral

import (
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForeign()
		for i := range foreignMax + 1 {
			f.remember(events.Subject(strconv.Itoa(i)))
		}
		if len(f.until) != 1 || !f.knows(events.Subject(strconv.Itoa(foreignMax))) {
			t.Errorf("%d subjects are remembered, want the last", len(f.until))
		}
	})
}

func TestAfterThreeOthersNoOtherIsTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForeign()
		f.judged(false)
		f.judged(false)
		f.judged(true) // this service user may read some
		f.judged(false)
		f.judged(false)
		if f.knows("42") {
			t.Error("taken for refused though some are allowed")
		}
		f.judged(false)
		if !f.knows("42") {
			t.Error("tried again after three refusals in a row")
		}
		time.Sleep(foreignLife)
		if f.knows("42") {
			t.Error("not tried again after an hour")
		}
	})
}

func TestRetryAfterMayBeADate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := http.Header{"Retry-After": {time.Now().Add(40 * time.Second).UTC().Format(http.TimeFormat)}}
		if got := penalty(http.StatusTooManyRequests, h); got != 40*time.Second {
			t.Errorf("got %s, want 40s", got)
		}
	})
}

func TestSaid(t *testing.T) {
	for name, c := range map[string]struct {
		op      client.Op
		headers http.Header
		want    subscriptions.Said
	}{
		"nothing": {opFeatures, nil, subscriptions.Said{}},
		"all": {opFeatures, rates("75", "3", "60"),
			subscriptions.Said{Limit: 75, Remaining: 3, Told: true, Window: time.Minute}},
		"none left": {opFeatures, rates("75", "0", "60"),
			subscriptions.Said{Limit: 75, Told: true, Window: time.Minute}},
		"none left of a usual limit": {opFeatures, rates("", "0", "30"),
			subscriptions.Said{Told: true, Window: 30 * time.Second}},
		"none left, window unknown": {opFeatures, rates("75", "0", ""),
			subscriptions.Said{Limit: 75, Told: true, Penalty: time.Minute}},
		"none left of an unknown limit": {opExchange, rates("", "0", "30"),
			subscriptions.Said{Told: true, Window: 30 * time.Second, Penalty: 30 * time.Second}},
		"nonsense": {opFeatures, rates("many", "-1", "soon"), subscriptions.Said{}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, said(c.op, http.StatusOK, c.headers)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// rates are the vendor's headers; what is empty is left out.
func rates(limit, remaining, window string) http.Header {
	h := http.Header{}
	for name, value := range map[string]string{"Limit": limit, "Remaining": remaining, "Window": window} {
		if value != "" {
			h.Set("X-Rate-Limit-"+name, value)
		}
	}
	return h
}
