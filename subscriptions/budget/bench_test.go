package budget_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/cachetest"
	"github.com/rescindhq/rescind/subscriptions"
)

// BenchmarkTake is a call that is granted, and given back, in a lane with so
// many busy callers.
func BenchmarkTake(b *testing.B) {
	for _, busy := range []int{0, 100, 20_000} {
		b.Run(fmt.Sprint(busy), func(b *testing.B) {
			db := cachetest.Redis(b)
			shared := another(b, db)
			for i := range busy {
				at := float64(time.Now().Add(-time.Duration(i) * 10 * time.Millisecond).UnixMicro())
				if err := db.ZAdd(b.Context(), busyKey, redis.Z{Score: at, Member: i}).Err(); err != nil {
					b.Fatal(err)
				}
			}
			n := 0
			for b.Loop() {
				n++
				ctx := cache.WithCaller(b.Context(), fmt.Sprint("s", n%40))
				c, err := shared.Take(ctx, lane, perMinute(1000))
				if err != nil {
					b.Fatal(err)
				}
				c.Done(context.Background(), subscriptions.Said{Unsent: true})
			}
			b.ReportMetric(scriptTime(b, db), "redis-µs/script")
		})
	}
}

// scriptTime is what Redis says that a script took, in µs.
func scriptTime(b *testing.B, db cachetest.DB) (us float64) {
	b.Helper()
	stats, err := db.Info(b.Context(), "commandstats").Result()
	_, evalsha, ok := strings.Cut(stats, "cmdstat_evalsha:")
	_, each, ok2 := strings.Cut(evalsha, "usec_per_call=")
	each, _, _ = strings.Cut(each, ",")
	us, err2 := strconv.ParseFloat(each, 64)
	if err = errors.Join(err, err2); err != nil || !ok || !ok2 {
		b.Fatal(stats, err)
	}
	return us
}
