package fence

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed prelude.lua
	prelude string
	//go:embed begin.lua
	beginLua string
	//go:embed commit.lua
	commitLua string
	//go:embed invalidate.lua
	invalidateLua string
	//go:embed release.lua
	releaseLua string
	//go:embed glance.lua
	glanceLua string
)

type scripts struct {
	begin, commit, invalidate, release, glance *redis.Script
}

// Headers that Redis 7 reads. Dropping and asking must work at full memory; a
// commit must be refused there as a whole, before its first write.
const (
	plainHeader = "#!lua\n"
	oomHeader   = "#!lua flags=allow-oom\n"
	lookHeader  = "#!lua flags=no-writes\n"
)

func newScripts(headers bool) scripts {
	plain, oom, look := plainHeader, oomHeader, lookHeader
	if !headers {
		plain, oom, look = "", "", ""
	}
	return scripts{
		begin:      redis.NewScript(oom + prelude + beginLua),
		commit:     redis.NewScript(plain + prelude + commitLua),
		invalidate: redis.NewScript(oom + prelude + invalidateLua),
		release:    redis.NewScript(oom + releaseLua),
		glance:     redis.NewScript(look + prelude + glanceLua),
	}
}

// loadScripts loads the scripts with their headers, or without them where the
// server does not know headers: then it cannot promise to work at full memory.
func loadScripts(ctx context.Context, rdb Redis) (s scripts, headers bool, err error) {
	if err := rdb.Ping(ctx).Err(); err != nil {
		return scripts{}, false, fmt.Errorf("open fence: %w", err)
	}
	for _, headers := range []bool{true, false} {
		s = newScripts(headers)
		if err = s.load(ctx, rdb); err == nil {
			return s, headers, nil
		}
	}
	return scripts{}, false, fmt.Errorf("open fence: load scripts: %w", err)
}

func (s scripts) load(ctx context.Context, rdb Redis) error {
	for _, one := range []*redis.Script{s.begin, s.commit, s.invalidate, s.release, s.glance} {
		if err := one.Load(ctx, rdb).Err(); err != nil {
			return err
		}
	}
	return nil
}
