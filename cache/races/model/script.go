package model

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"
)

// program is a compiled script, ready to be called.
type program struct{ fn *lua.LFunction }

// newState makes a script engine with the libraries and the functions that
// Redis gives a script.
func (s *Server) newState() *lua.LState {
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	for name, open := range map[string]lua.LGFunction{
		"": lua.OpenBase, "table": lua.OpenTable, "string": lua.OpenString, "math": lua.OpenMath,
	} {
		l.Push(l.NewFunction(open))
		l.Push(lua.LString(name))
		l.Call(1, 0)
	}
	strings := l.GetGlobal("string").(*lua.LTable)
	format := strings.RawGetString("format").(*lua.LFunction)
	strings.RawSetString("format", l.NewFunction(formatted(format.GFunction)))
	match := strings.RawGetString("match").(*lua.LFunction)
	strings.RawSetString("match", l.NewFunction(remembered(match.GFunction)))
	toNumber := l.GetGlobal("tonumber").(*lua.LFunction)
	l.SetGlobal("tonumber", l.NewFunction(numbered(toNumber.GFunction)))
	api := l.NewTable()
	api.RawSetString("call", l.NewFunction(s.call))
	api.RawSetString("pcall", l.NewFunction(s.pcall))
	api.RawSetString("error_reply", l.NewFunction(func(l *lua.LState) int { return single(l, "err") }))
	api.RawSetString("status_reply", l.NewFunction(func(l *lua.LState) int { return single(l, "ok") }))
	l.SetGlobal("redis", api)
	return l
}

func single(l *lua.LState, name string) int {
	t := l.CreateTable(0, 1)
	t.RawSetString(name, lua.LString(l.CheckString(1)))
	l.Push(t)
	return 1
}

// formatted is string.format with a short way for whole numbers.
func formatted(rest lua.LGFunction) lua.LGFunction {
	return func(l *lua.LState) int {
		n, ok := l.Get(2).(lua.LNumber)
		if !ok || l.Get(1) != lua.LString("%.0f") {
			return rest(l)
		}
		l.Push(lua.LString(strconv.FormatFloat(float64(n), 'f', 0, 64)))
		return 1
	}
}

// remembered is string.match, which remembers its last text and pattern: every
// script looks for the replication id in the same INFO.
func remembered(rest lua.LGFunction) lua.LGFunction {
	var text, pattern, found lua.LValue
	return func(l *lua.LState) int {
		if l.GetTop() == 2 && found != nil && l.Get(2) == pattern && l.Get(1) == text {
			l.Push(found)
			return 1
		}
		t, p := l.Get(1), l.Get(2)
		n := rest(l)
		if found = nil; n == 1 && l.GetTop() >= 1 {
			if s, ok := l.Get(-1).(lua.LString); ok {
				text, pattern, found = t, p, s
			}
		}
		return n
	}
}

// numbered is tonumber; the engine's own does not read "1e+17".
func numbered(rest lua.LGFunction) lua.LGFunction {
	return func(l *lua.LState) int {
		text, ok := l.Get(1).(lua.LString)
		if !ok || l.GetTop() > 1 || strings.ContainsAny(string(text), "xX") {
			return rest(l)
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		if err != nil {
			l.Push(lua.LNil)
		} else {
			l.Push(lua.LNumber(f))
		}
		return 1
	}
}

// call is redis.call: an error ends the script.
func (s *Server) call(l *lua.LState) int {
	r := s.fromScript(l)
	if r.failed() {
		l.Error(toLua(l, r), 0)
	}
	l.Push(toLua(l, r))
	return 1
}

// pcall is redis.pcall: an error is a value.
func (s *Server) pcall(l *lua.LState) int {
	l.Push(toLua(l, s.fromScript(l)))
	return 1
}

func (s *Server) fromScript(l *lua.LState) reply {
	s.args = s.args[:0]
	for i := 1; i <= l.GetTop(); i++ {
		switch v := l.Get(i).(type) {
		case lua.LString:
			s.args = append(s.args, string(v))
		case lua.LNumber:
			s.args = append(s.args, double(float64(v)))
		default:
			return errorOf("ERR Lua redis lib command arguments must be strings or integers")
		}
	}
	if len(s.args) == 0 {
		return errorOf("ERR Please specify at least one argument for this redis.call() call")
	}
	return s.do(s.args)
}

// toLua is how Redis shows a reply to a script.
func toLua(l *lua.LState, r reply) lua.LValue {
	switch r.kind {
	case isInt:
		return lua.LNumber(r.n)
	case isBulk:
		return lua.LString(r.text)
	case isStatus, isError:
		t := l.CreateTable(0, 1)
		t.RawSetString(map[bool]string{true: "err", false: "ok"}[r.failed()], lua.LString(r.text))
		return t
	case isList:
		t := l.CreateTable(len(r.list), 0)
		for i, one := range r.list {
			t.RawSetInt(i+1, toLua(l, one))
		}
		return t
	}
	return lua.LFalse
}

// fromLua is how Redis answers what a script returned.
func fromLua(v lua.LValue) reply {
	switch v := v.(type) {
	case lua.LString:
		return bulk(string(v))
	case lua.LNumber:
		return reply{kind: isInt, n: int64(v)}
	case lua.LBool:
		if v {
			return integer(1)
		}
	case *lua.LTable:
		if err, ok := v.RawGetString("err").(lua.LString); ok {
			return errorOf(string(err))
		}
		if ok, is := v.RawGetString("ok").(lua.LString); is {
			return status(string(ok))
		}
		out := make([]reply, 0, v.Len())
		for i := 1; ; i++ {
			one := v.RawGetInt(i)
			if one == lua.LNil {
				return list(out)
			}
			out = append(out, fromLua(one))
		}
	}
	return reply{}
}

// load compiles a script once and returns its SHA1.
func (s *Server) load(script string) (string, error) {
	sum := sha1.Sum([]byte(script))
	sha := hex.EncodeToString(sum[:])
	if s.progs[sha] == nil {
		body, err := withoutHeader(script)
		if err != nil {
			return "", err
		}
		chunk, err := parse.Parse(strings.NewReader(body), "user_script")
		if err != nil {
			return "", replyError("ERR Error compiling script (new function): " + err.Error())
		}
		proto, err := lua.Compile(chunk, "user_script")
		if err != nil {
			return "", replyError("ERR Error compiling script (new function): " + err.Error())
		}
		s.progs[sha] = &program{s.lua.NewFunctionFromProto(proto)}
	}
	s.known[sha] = true
	return sha, nil
}

// withoutHeader blanks the first line of a script that says "#!lua".
func withoutHeader(script string) (string, error) {
	if !strings.HasPrefix(script, "#!") {
		return script, nil
	}
	header, body, _ := strings.Cut(script, "\n")
	words := strings.Fields(strings.TrimPrefix(header, "#!"))
	if len(words) == 0 || words[0] != "lua" {
		return "", replyError("ERR Unexpected engine in script shebang: " + header)
	}
	for _, w := range words[1:] {
		if !strings.HasPrefix(w, "flags=") {
			return "", replyError("ERR Unknown lua shebang option: " + w)
		}
	}
	return "\n" + body, nil
}

// run runs a script that was loaded.
func (s *Server) run(sha string, keys, args []string) reply {
	if !s.known[sha] {
		return errorOf("NOSCRIPT No matching script. Please use EVAL.")
	}
	s.lua.SetGlobal("KEYS", s.table(keys))
	s.lua.SetGlobal("ARGV", s.table(args))
	s.lua.Push(s.progs[sha].fn)
	if err := s.lua.PCall(0, 1, nil); err != nil {
		return errorOf(raised(err))
	}
	v := s.lua.Get(-1)
	s.lua.Pop(1)
	return fromLua(v)
}

func (s *Server) table(list []string) *lua.LTable {
	t := s.lua.CreateTable(len(list), 0)
	for i, v := range list {
		t.RawSetInt(i+1, lua.LString(v))
	}
	return t
}

// raised is the text of what ended a script.
func raised(err error) string {
	var api *lua.ApiError
	if errors.As(err, &api) {
		if t, ok := api.Object.(*lua.LTable); ok {
			if text, ok := t.RawGetString("err").(lua.LString); ok {
				return string(text)
			}
		}
		return fmt.Sprintf("ERR %v", api.Object)
	}
	return "ERR " + err.Error()
}
