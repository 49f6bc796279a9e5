package model

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Client speaks to a [Server] in the words of go-redis, as far as it has them.
// It is safe for concurrent use.
type Client struct{ server *Server }

// Client returns a client of the server.
func (s *Server) Client() *Client { return &Client{s} }

// argument writes an argument as go-redis does.
func argument(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	case int:
		return strconv.Itoa(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case uint64:
		return strconv.FormatUint(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case bool:
		return map[bool]string{true: "1", false: "0"}[v], nil
	}
	return "", fmt.Errorf("the model takes no argument of type %T", v)
}

func arguments(args []any) ([]string, error) {
	out := make([]string, len(args))
	for i, v := range args {
		var err error
		if out[i], err = argument(v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Do runs one command.
func (c *Client) Do(ctx context.Context, args ...any) *redis.Cmd {
	cmd := redis.NewCmd(ctx, args...)
	if len(args) == 0 {
		cmd.SetErr(replyError("ERR no command"))
		return cmd
	}
	texts, err := arguments(args)
	return c.answer(ctx, cmd, err, func(s *Server) reply { return s.do(texts) })
}

// answer runs a step and fills the command with its reply.
func (c *Client) answer(ctx context.Context, cmd *redis.Cmd, err error, step func(*Server) reply) *redis.Cmd {
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		cmd.SetErr(err)
		return cmd
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	switch r := step(c.server); r.kind {
	case isError:
		cmd.SetErr(replyError(r.text))
	case isNil:
		cmd.SetErr(redis.Nil)
	default:
		cmd.SetVal(r.value())
	}
	return cmd
}

// EvalSha runs a loaded script.
func (c *Client) EvalSha(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd {
	texts, err := arguments(args)
	cmd := redis.NewCmd(ctx, "evalsha", sha1)
	return c.answer(ctx, cmd, err, func(s *Server) reply { return s.run(sha1, keys, texts) })
}

// Eval loads and runs a script.
func (c *Client) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	texts, err := arguments(args)
	cmd := redis.NewCmd(ctx, "eval", script)
	return c.answer(ctx, cmd, err, func(s *Server) reply {
		sha, err := s.load(script)
		if err != nil {
			return errorOf(err.Error())
		}
		return s.run(sha, keys, texts)
	})
}

// EvalRO is [Client.Eval]: the model does not watch what a script writes.
func (c *Client) EvalRO(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return c.Eval(ctx, script, keys, args...)
}

// EvalShaRO is [Client.EvalSha].
func (c *Client) EvalShaRO(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd {
	return c.EvalSha(ctx, sha1, keys, args...)
}

// ScriptLoad loads a script.
func (c *Client) ScriptLoad(ctx context.Context, script string) *redis.StringCmd {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	cmd := redis.NewStringCmd(ctx, "script", "load", script)
	sha, err := c.server.load(script)
	cmd.SetVal(sha)
	cmd.SetErr(err)
	return cmd
}

// ScriptExists says which scripts are loaded.
func (c *Client) ScriptExists(ctx context.Context, hashes ...string) *redis.BoolSliceCmd {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	out := make([]bool, len(hashes))
	for i, h := range hashes {
		out[i] = c.server.known[h]
	}
	cmd := redis.NewBoolSliceCmd(ctx, "script", "exists")
	cmd.SetVal(out)
	return cmd
}

// Ping answers PONG.
func (c *Client) Ping(ctx context.Context) *redis.StatusCmd {
	return redis.NewStatusResult(c.Do(ctx, "PING").Text())
}

// Get is GET.
func (c *Client) Get(ctx context.Context, key string) *redis.StringCmd {
	return redis.NewStringResult(c.Do(ctx, "GET", key).Text())
}

// Set is SET, with PX if the life is not 0.
func (c *Client) Set(ctx context.Context, key string, value any, life time.Duration) *redis.StatusCmd {
	args := []any{"SET", key, value}
	if life > 0 {
		args = append(args, "PX", life.Milliseconds())
	}
	return redis.NewStatusResult(c.Do(ctx, args...).Text())
}

// SetNX is SET with NX, and PX if the life is not 0.
func (c *Client) SetNX(ctx context.Context, key string, value any, life time.Duration) *redis.BoolCmd {
	args := []any{"SET", key, value, "NX"}
	if life > 0 {
		args = append(args, "PX", life.Milliseconds())
	}
	err := c.Do(ctx, args...).Err()
	if errors.Is(err, redis.Nil) {
		return redis.NewBoolResult(false, nil)
	}
	return redis.NewBoolResult(err == nil, err)
}

// Del is DEL.
func (c *Client) Del(ctx context.Context, keys ...string) *redis.IntCmd {
	args := make([]any, 1, len(keys)+1)
	args[0] = "DEL"
	for _, k := range keys {
		args = append(args, k)
	}
	return redis.NewIntResult(c.Do(ctx, args...).Int64())
}

// HMGet is HMGET.
func (c *Client) HMGet(ctx context.Context, key string, fields ...string) *redis.SliceCmd {
	args := make([]any, 2, len(fields)+2)
	args[0], args[1] = "HMGET", key
	for _, f := range fields {
		args = append(args, f)
	}
	return redis.NewSliceResult(c.Do(ctx, args...).Slice())
}

// ZRangeByScore is ZRANGEBYSCORE without LIMIT.
func (c *Client) ZRangeByScore(ctx context.Context, key string, by *redis.ZRangeBy) *redis.StringSliceCmd {
	if by.Offset != 0 || by.Count != 0 {
		return redis.NewStringSliceResult(nil, replyError("ERR the model's client takes no LIMIT"))
	}
	return redis.NewStringSliceResult(c.Do(ctx, "ZRANGEBYSCORE", key, by.Min, by.Max).StringSlice())
}
