package renew_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

// Once the feed is told to be dead, no delivery by another subscription may prove it
// alive: our own listener knows it before, and all are told again after.
func TestADeathIsInTheBookBeforeItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		f.wanted = []string{"a", "b"}
		book := renew.NewBook(map[events.Home][]string{home: f.wanted},
			func(events.Home, int64) subscriptions.Secret { return subscriptions.NewSecret("x") },
			slog.New(slog.DiscardHandler))
		c := config(f, f)
		c.Noted = book.Note
		deaths := 0
		c.Dead = func(h events.Home, _ time.Time, cause string) {
			deaths++
			if len(book.Missing(h)) == 0 {
				t.Errorf("told dead (%s), and a delivery still proves it alive", cause)
			}
		}
		c.Sweep = func(ctx context.Context, h events.Home, g subscriptions.Gap) error {
			if len(book.Missing(h)) == 0 {
				t.Error("the same while it is swept, which may take 30 s")
			}
			return f.sweep(ctx, h, g)
		}
		start(t, c, nil)
		later(time.Minute)
		f.with(func(f *fake) { // a is gone, and cannot be made again
			f.subs = f.subs[1:]
			f.fail["create"] = fmt.Errorf("co-owner: %w", subscriptions.ErrMisconfigured)
		})
		later(6 * time.Minute)
		if deaths < 2 {
			t.Errorf("told %d times", deaths)
		}
	})
}

// What was refused is made good also where a filter is not served.
func TestWhatWasRefusedIsSweptWhileDoubtful(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(week)
		f.disabled = []string{"x"}
		k := run(t, f)
		later(20 * time.Minute)
		f.heard()
		r := obey(t, k, renew.Order{Do: renew.DoMend, At: time.Now().Add(-time.Minute)})
		if told := strings.Join(f.heard(), "|"); !r.Mended || !strings.Contains(told, "swept deliveries were refused") {
			t.Errorf("mended: %t; told %s", r.Mended, told)
		}
	})
}
