package model

import (
	"math"
	"strconv"
)

// reply is what a command answers.
type reply struct {
	kind replyKind
	n    int64
	text string
	list []reply
}

type replyKind uint8

const (
	isNil replyKind = iota
	isInt
	isBulk
	isStatus
	isError
	isList
)

// replyError is an error that the server answered, as go-redis knows it.
type replyError string

func (e replyError) Error() string { return string(e) }

// RedisError marks it for go-redis.
func (replyError) RedisError() {}

func errorOf(text string) reply { return reply{kind: isError, text: text} }
func bulk(text string) reply    { return reply{kind: isBulk, text: text} }
func integer(n int) reply       { return reply{kind: isInt, n: int64(n)} }
func status(text string) reply  { return reply{kind: isStatus, text: text} }
func list(items []reply) reply  { return reply{kind: isList, list: items} }
func wrongArgs(name string) reply {
	return errorOf("ERR wrong number of arguments for '" + name + "' command")
}
func wrongKind() reply {
	return errorOf("WRONGTYPE Operation against a key holding the wrong kind of value")
}
func notAnInteger() reply         { return errorOf("ERR value is not an integer or out of range") }
func scoreOf(score float64) reply { return bulk(double(score)) }
func (r reply) failed() bool      { return r.kind == isError }

// value is the reply as go-redis gives it to its callers.
func (r reply) value() any {
	switch r.kind {
	case isInt:
		return r.n
	case isBulk, isStatus:
		return r.text
	case isError:
		return replyError(r.text)
	case isList:
		out := make([]any, len(r.list))
		for i, one := range r.list {
			out[i] = one.value()
		}
		return out
	}
	return nil
}

// double writes a number as Redis 7 does: "%.17g".
func double(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e17 {
		return strconv.FormatInt(int64(f), 10)
	}
	if math.IsInf(f, 0) {
		return map[bool]string{true: "inf", false: "-inf"}[f > 0]
	}
	return strconv.FormatFloat(f, 'g', 17, 64)
}
