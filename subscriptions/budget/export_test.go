package budget

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Clock is the key that is the clock of [OpenDriven]: a list of seconds and
// microseconds, as TIME says them.
const Clock = "clock"

// OpenDriven is Open with a clock that a test drives, on a real Redis.
func OpenDriven(ctx context.Context, rdb redis.UniversalClient, log *slog.Logger) (*Shared, error) {
	const clock = "redis.call('TIME')"
	if strings.Count(prelude, clock) != 1 {
		return nil, errors.New("the prelude reads the clock elsewhere")
	}
	b := &Shared{rdb: rdb, log: log}
	driven := "redis.call('LRANGE', '" + Clock + "', 0, 1)"
	return b, b.load(ctx, strings.Replace(prelude, clock, driven, 1))
}
