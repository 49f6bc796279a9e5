package ringcentral

import (
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/events"
)

func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, f := newLimits(), newForeign()
		for i := range maxLanes {
			l.close(lane{strconv.Itoa(i), light}, time.Now().Add(time.Minute))
		}
		time.Sleep(time.Minute) // simulated
		open := lane{"next", light}
		l.close(open, time.Now().Add(time.Minute))
		if len(l.until) != 1 || l.ask(open) == nil {
			t.Errorf("%d lanes are remembered, want the one that is closed", len(l.until))
		}
		for i := range foreignMax + 1 {
			f.remember(events.Subject(strconv.Itoa(i)))
		}
		if len(f.until) != 1 || !f.knows(events.Subject(strconv.Itoa(foreignMax))) {
			t.Errorf("%d subjects are remembered, want the last", len(f.until))
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

func TestAPenaltyIsNeverShortened(t *testing.T) {
	l, w := newLimits(), lane{"1", medium}
	until := time.Now().Add(time.Hour)
	l.close(w, until)
	l.close(w, time.Now().Add(time.Minute))
	if got := l.until[w]; !got.Equal(until) {
		t.Errorf("until %s, want %s", got, until)
	}
}
