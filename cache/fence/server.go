package fence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ErrPolicy says that a Redis is not set up as the contract needs it.
var ErrPolicy = errors.New("redis is not set up as promised")

var errNoID = errors.New("no master_replid")

// wanted are the settings that the contract needs, with the reason.
var wanted = []struct{ name, value, reason string }{
	{"maxmemory-policy", "noeviction", "eviction removes indexes before entries, so that changes miss them"},
	{"save", "", "a restored snapshot brings back rights that were revoked meanwhile"},
	{"appendonly", "no", "a restored log brings back rights that were revoked meanwhile"},
}

// Setting is a setting that the contract needs, and what a server has of it.
type Setting struct{ Name, Value, Want, Reason string }

// OK says whether it is as it must be.
func (s Setting) OK() bool { return s.Value == s.Want }

// Settings asks one server, which a [redis.ClusterClient] is not, for what
// [CheckServer] wants of it. It changes nothing.
func Settings(ctx context.Context, one redis.Cmdable) (all []Setting, err error) {
	for _, w := range wanted {
		got, err := one.ConfigGet(ctx, w.name).Result()
		if err != nil {
			return nil, fmt.Errorf("ask redis for %s (the user needs +config|get): %w", w.name, err)
		}
		value, ok := got[w.name]
		if !ok {
			value = "unknown"
		}
		all = append(all, Setting{w.name, value, w.value, w.reason})
	}
	return all, nil
}

// CheckServer returns an error that wraps [ErrPolicy] and names each setting
// that is wrong, what it must be, and why. Every primary of a cluster is asked.
func CheckServer(ctx context.Context, rdb redis.UniversalClient) error {
	if c, ok := rdb.(*redis.ClusterClient); ok {
		return c.ForEachMaster(ctx, func(ctx context.Context, one *redis.Client) error {
			return checkOne(ctx, one)
		})
	}
	return checkOne(ctx, rdb)
}

func checkOne(ctx context.Context, rdb redis.Cmdable) error {
	settings, err := Settings(ctx, rdb)
	if err != nil {
		return err
	}
	var wrong []string
	for _, s := range settings {
		if !s.OK() {
			wrong = append(wrong, fmt.Sprintf("%s is %q and must be %q: %s", s.Name, s.Value, s.Want, s.Reason))
		}
	}
	if h, err := history(ctx, rdb); err != nil || !strings.Contains(h, "master_replid:") {
		return fmt.Errorf("%w: it does not say its replication id, by which a failover is noticed "+
			"(the user needs +info): %q, %w", ErrPolicy, h, cmp.Or(err, errNoID))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%w: %s", ErrPolicy, strings.Join(wrong, "; "))
	}
	return nil
}
