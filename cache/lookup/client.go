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

// whyPrefix begins the field that says why a grant is not given.
const whyPrefix = "why/"

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
	// Timeout bounds the read from Redis; zero means [DefaultTimeout].
	Timeout time.Duration
}

// Client looks grants up in Redis. It is safe for concurrent use.
type Client struct {
	rdb     Reader
	keys    cache.Keys
	asker   Asker
	timeout time.Duration
}

// New makes a client. It refuses an unusable prefix and a negative timeout.
func New(rdb Reader, o Options) (*Client, error) {
	keys, err := cache.NewKeys(o.Prefix)
	if err != nil {
		return nil, fmt.Errorf("new lookup: %w", err)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Timeout < 0 {
		return nil, fmt.Errorf("new lookup: timeout %s is negative", o.Timeout)
	}
	return &Client{rdb, keys, o.Asker, o.Timeout}, nil
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
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	names := fields(need)
	values, err := c.rdb.HMGet(ctx, c.keys.Entry(r), names...).Result()
	if err != nil {
		return Decision{Source: FromCache}, err
	}
	if len(values) != len(names) {
		return Decision{Source: FromCache}, fmt.Errorf("%d values for %d fields", len(values), len(names))
	}
	return judge(time.Now(), names, values, need)
}

// judge reads the values of the fields that were asked for.
func judge(now time.Time, names []string, values []any, need []cache.Grant) (Decision, error) {
	unknown := Decision{Source: FromCache}
	found := make(map[string]string, len(names))
	for i, v := range values {
		if text, ok := v.(string); ok {
			found[names[i]] = text
		}
	}
	if _, ok := found[cache.FieldUntil]; !ok {
		unknown.Message = nothingCached
		return unknown, nil
	}
	e, err := cache.Decode(found)
	switch {
	case err != nil:
		return unknown, err
	case !cache.Usable(now, e.Until):
		unknown.Message = notUsable
		return unknown, nil
	}
	return decide(e, need), nil
}

// fields names what is read of an entry.
func fields(need []cache.Grant) []string {
	names := make([]string, 0, 6+2*len(need))
	names = append(names, cache.FieldUntil, cache.FieldCovers, cache.FieldAsOf, cache.FieldVersion,
		cache.FieldBasis, cache.FieldConfirmed)
	for _, g := range need {
		names = append(names, string(g), whyPrefix+string(g))
	}
	return names
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
