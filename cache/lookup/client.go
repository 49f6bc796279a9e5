package lookup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
)

// DefaultTimeout bounds the read from Redis unless configured otherwise.
const DefaultTimeout = 250 * time.Millisecond

// Reader is what is needed of go-redis: any of its clients fits.
type Reader interface {
	HMGet(ctx context.Context, key string, fields ...string) *redis.SliceCmd
}

// Asker answers what the cache does not know. An error means that nothing is
// known: the decision beside it is not looked at. It must honour the context.
type Asker interface {
	Ask(ctx context.Context, r events.Ref, need ...cache.Grant) (Decision, error)
}

// Options configure a client. The zero value works, and asks nobody.
type Options struct {
	// Prefix of all keys; empty means [cache.DefaultPrefix].
	Prefix string
	// Asker is asked what is unknown; nil means nobody.
	Asker Asker
	// Timeout bounds the reading, writing and dialling of the Redis client, each
	// of its tries included; zero means [DefaultTimeout].
	Timeout time.Duration
}

// Client looks grants up in Redis. It is safe for concurrent use.
type Client struct {
	rdb     Reader
	keys    cache.Keys
	asker   Asker
	timeout time.Duration
}

// New makes a client. It refuses an unusable prefix, a negative timeout, and a
// client of go-redis that would not obey the timeout.
func New(rdb Reader, o Options) (*Client, error) {
	keys, err := cache.NewKeys(o.Prefix)
	if err != nil {
		return nil, fmt.Errorf("new lookup: %w", err)
	}
	if !obeys(rdb) {
		return nil, errors.New("new lookup: set ContextTimeoutEnabled in the options of the Redis client")
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Timeout < 0 {
		return nil, fmt.Errorf("new lookup: timeout %s is negative", o.Timeout)
	}
	return &Client{rdb, keys, o.Asker, o.Timeout}, nil
}

// obeys says whether the Redis client heeds deadlines, as far as it can be seen.
func obeys(rdb Reader) bool {
	switch c := rdb.(type) {
	case *redis.Client:
		return c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		return c.Options().ContextTimeoutEnabled
	}
	return true
}

// Check says whether the subject has all the grants, on the resource if r has
// one. It reads Redis once; what is unknown is asked of the asker.
//
// Beside an error the decision is unknown, never allowed. The error wraps
// [events.ErrID] if r is unusable, [cache.ErrUnreadable] if what is cached is
// broken, else what Redis or the asker said; it is set too if no grant is
// named, or one that is none.
func (c *Client) Check(ctx context.Context, r events.Ref, need ...cache.Grant) (Decision, error) {
	if err := valid(r, need); err != nil {
		return Decision{}, fmt.Errorf("check: %w", err)
	}
	d, err := c.read(ctx, r, need)
	if err != nil {
		err = fmt.Errorf("check %q: read redis: %w", r, err)
	}
	if d.State != cache.Unknown || c.asker == nil || ctx.Err() != nil {
		return d, err
	}
	answer, askErr := c.asker.Ask(ctx, r, need...)
	if askErr != nil {
		return d, errors.Join(err, fmt.Errorf("check %q: %w", r, askErr))
	}
	answer.Fault = err
	return answer, nil
}

// read is the one round trip. Beside an error the decision is unknown.
func (c *Client) read(ctx context.Context, r events.Ref, need []cache.Grant) (Decision, error) {
	names := fields(need)
	values, err := c.rdb.HMGet(within(ctx, c.timeout), c.keys.Entry(r), names...).Result()
	if err != nil {
		return Decision{Source: FromCache}, err
	}
	if len(values) != len(names) {
		return Decision{Source: FromCache}, fmt.Errorf("%d values for %d fields", len(values), len(names))
	}
	return judge(time.Now(), values, need)
}

// deadline is a context that ends no sooner, but tells an earlier deadline,
// which go-redis sets on the connection. The timer of [context.WithTimeout]
// would wake a sleeping scheduler and cost a fifth of the whole check.
type deadline struct {
	context.Context
	at time.Time
}

// Deadline is the earlier one.
func (d deadline) Deadline() (time.Time, bool) { return d.at, true }

func within(ctx context.Context, timeout time.Duration) context.Context {
	at := time.Now().Add(timeout)
	if earlier, ok := ctx.Deadline(); ok && earlier.Before(at) {
		return ctx
	}
	return deadline{ctx, at}
}

// valid refuses a question that cannot be asked.
func valid(r events.Ref, need []cache.Grant) error {
	if err := r.Validate(); err != nil {
		return err
	}
	if len(need) == 0 {
		return errors.New("no grant is named")
	}
	for _, g := range need {
		if _, err := cache.ParseGrant(string(g)); err != nil {
			return err
		}
	}
	return nil
}
