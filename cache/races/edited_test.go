package races

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// edited is a client that changes scripts before the server sees them.
type edited struct {
	Redis
	edit func(script string) string
}

func (e edited) ScriptLoad(ctx context.Context, script string) *redis.StringCmd {
	return e.Redis.ScriptLoad(ctx, e.edit(script))
}

func (e edited) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return e.Redis.Eval(ctx, e.edit(script), keys, args...)
}
