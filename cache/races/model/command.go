package model

import (
	"slices"
	"strconv"
	"strings"
)

// command is one of the commands: how many arguments it takes, its name
// included (negative: at least), and what it does.
type command struct {
	arity int
	run   func(*Server, []string) reply
}

func commands(name string) (command, bool) {
	switch name {
	case "TIME":
		return command{1, (*Server).time}, true
	case "INFO":
		return command{-1, (*Server).info}, true
	case "PING":
		return command{1, func(*Server, []string) reply { return status("PONG") }}, true
	case "PUBLISH":
		return command{3, func(*Server, []string) reply { return integer(0) }}, true
	case "TYPE":
		return command{2, (*Server).kindOf}, true
	case "EXISTS":
		return command{-2, (*Server).exists}, true
	case "DEL", "UNLINK":
		return command{-2, (*Server).del}, true
	case "PTTL":
		return command{2, (*Server).pttl}, true
	case "PEXPIRE":
		return command{3, (*Server).pexpire}, true
	case "PEXPIREAT":
		return command{3, (*Server).pexpireAt}, true
	case "GET":
		return command{2, (*Server).get}, true
	case "SET":
		return command{-3, (*Server).set}, true
	}
	return collections(name)
}

func collections(name string) (command, bool) {
	switch name {
	case "HSET":
		return command{-4, (*Server).hset}, true
	case "HGET":
		return command{3, (*Server).hget}, true
	case "HMGET":
		return command{-3, (*Server).hmget}, true
	case "HGETALL":
		return command{2, (*Server).hgetall}, true
	case "ZADD":
		return command{-4, (*Server).zadd}, true
	case "ZREM":
		return command{-3, (*Server).zrem}, true
	case "ZSCORE":
		return command{3, (*Server).zscore}, true
	case "ZMSCORE":
		return command{-3, (*Server).zmscore}, true
	case "ZCOUNT":
		return command{4, (*Server).zcount}, true
	case "ZRANGE":
		return command{-4, (*Server).zrange}, true
	case "ZRANGEBYSCORE":
		return command{-4, (*Server).zrangeByScore}, true
	}
	return command{}, false
}

// do runs one command; args[0] is its name, in any case.
func (s *Server) do(args []string) reply {
	c, ok := commands(args[0])
	if !ok {
		if c, ok = commands(strings.ToUpper(args[0])); !ok {
			return errorOf("ERR unknown command '" + args[0] + "'")
		}
	}
	if len(args) < max(c.arity, -c.arity) || (c.arity > 0 && len(args) != c.arity) {
		return wrongArgs(strings.ToLower(args[0]))
	}
	return c.run(s, args[1:])
}

func (s *Server) time([]string) reply {
	sec, us := s.now/1_000_000, s.now%1_000_000
	return list([]reply{bulk(strconv.FormatInt(sec, 10)), bulk(strconv.FormatInt(us, 10))})
}

func (s *Server) info(args []string) reply {
	if len(args) > 0 && !strings.EqualFold(args[0], "replication") {
		return bulk("")
	}
	return bulk("# Replication\r\nrole:master\r\nconnected_slaves:0\r\nmaster_replid:" + s.id + "\r\n")
}

func (s *Server) kindOf(args []string) reply {
	if v := s.find(args[0]); v != nil {
		return status(string(v.kind))
	}
	return status(string(none))
}

func (s *Server) exists(args []string) reply {
	n := 0
	for _, key := range args {
		if s.find(key) != nil {
			n++
		}
	}
	return integer(n)
}

func (s *Server) del(args []string) reply {
	n := 0
	for _, key := range args {
		if s.find(key) != nil {
			delete(s.keys, key)
			n++
		}
	}
	return integer(n)
}

func (s *Server) pttl(args []string) reply {
	v := s.find(args[0])
	switch {
	case v == nil:
		return integer(-2)
	case v.expire == never:
		return integer(-1)
	}
	return reply{kind: isInt, n: v.expire - s.now/1000}
}

func (s *Server) pexpire(args []string) reply   { return s.expireAt(args, s.now/1000) }
func (s *Server) pexpireAt(args []string) reply { return s.expireAt(args, 0) }

// expireAt sets when a key expires; an instant that is over deletes it.
func (s *Server) expireAt(args []string, from int64) reply {
	ms, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return notAnInteger()
	}
	v := s.find(args[0])
	if v == nil {
		return integer(0)
	}
	v.expire = from + ms
	if v.expire <= s.now/1000 {
		delete(s.keys, args[0])
	}
	return integer(1)
}

func (s *Server) get(args []string) reply {
	v, wrong := s.want(args[0], text)
	switch {
	case wrong:
		return wrongKind()
	case v == nil:
		return reply{}
	}
	return bulk(v.text)
}

// set knows NX, PX and EX.
func (s *Server) set(args []string) reply {
	v := &value{kind: text, text: args[1]}
	onlyNew := false
	for rest := args[2:]; len(rest) > 0; rest = rest[1:] {
		unit := map[string]int64{"PX": 1, "EX": 1000}[strings.ToUpper(rest[0])]
		switch {
		case strings.EqualFold(rest[0], "NX"):
			onlyNew = true
		case unit == 0 || len(rest) < 2:
			return errorOf("ERR syntax error")
		default:
			n, err := strconv.ParseInt(rest[1], 10, 64)
			if err != nil {
				return notAnInteger()
			}
			if n <= 0 {
				return errorOf("ERR invalid expire time in 'set' command")
			}
			v.expire = s.now/1000 + n*unit
			rest = rest[1:]
		}
	}
	if onlyNew && s.find(args[0]) != nil {
		return reply{}
	}
	s.keys[args[0]] = v
	return status("OK")
}

func (s *Server) hset(args []string) reply {
	if len(args)%2 == 0 {
		return wrongArgs("hset")
	}
	v, wrong := s.make(args[0], hash)
	if wrong {
		return wrongKind()
	}
	n := 0
	for i := 1; i < len(args); i += 2 {
		at := slices.IndexFunc(v.fields, func(f field) bool { return f.name == args[i] })
		if at >= 0 {
			v.fields[at].value = args[i+1]
			continue
		}
		v.fields = append(v.fields, field{args[i], args[i+1]})
		n++
	}
	return integer(n)
}

func (v *value) field(name string) reply {
	if v != nil {
		for _, f := range v.fields {
			if f.name == name {
				return bulk(f.value)
			}
		}
	}
	return reply{}
}

func (s *Server) hget(args []string) reply {
	v, wrong := s.want(args[0], hash)
	if wrong {
		return wrongKind()
	}
	return v.field(args[1])
}

func (s *Server) hmget(args []string) reply {
	v, wrong := s.want(args[0], hash)
	if wrong {
		return wrongKind()
	}
	out := make([]reply, len(args)-1)
	for i, name := range args[1:] {
		out[i] = v.field(name)
	}
	return list(out)
}

func (s *Server) hgetall(args []string) reply {
	v, wrong := s.want(args[0], hash)
	if wrong {
		return wrongKind()
	}
	var out []reply
	if v != nil {
		for _, f := range v.fields {
			out = append(out, bulk(f.name), bulk(f.value))
		}
	}
	return list(out)
}
