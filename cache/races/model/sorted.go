package model

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// at is where a member stands; -1 if it does not.
func (v *value) at(name string) int {
	if v == nil {
		return -1
	}
	return slices.IndexFunc(v.zset, func(m member) bool { return m.name == name })
}

// put adds a member or moves it; it says whether it is new.
func (v *value) put(m member) bool {
	old := v.at(m.name)
	if old >= 0 && v.zset[old].score == m.score {
		return false
	}
	if old >= 0 {
		v.zset = slices.Delete(v.zset, old, old+1)
	}
	at, _ := slices.BinarySearchFunc(v.zset, m, func(a, b member) int {
		return cmp.Or(cmp.Compare(a.score, b.score), strings.Compare(a.name, b.name))
	})
	v.zset = slices.Insert(v.zset, at, m)
	return old < 0
}

func (s *Server) zadd(args []string) reply {
	if len(args)%2 == 0 {
		return errorOf("ERR syntax error")
	}
	for i := 1; i < len(args); i += 2 { // all or none
		if _, ok := scoreIn(args[i]); !ok {
			return errorOf("ERR value is not a valid float")
		}
	}
	v, wrong := s.make(args[0], zset)
	if wrong {
		return wrongKind()
	}
	n := 0
	for i := 1; i < len(args); i += 2 {
		score, _ := scoreIn(args[i])
		if v.put(member{args[i+1], score}) {
			n++
		}
	}
	return integer(n)
}

func scoreIn(text string) (float64, bool) {
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil && f == f
}

func (s *Server) zrem(args []string) reply {
	v, wrong := s.want(args[0], zset)
	if wrong {
		return wrongKind()
	}
	n := 0
	for _, name := range args[1:] {
		if at := v.at(name); at >= 0 {
			v.zset = slices.Delete(v.zset, at, at+1)
			n++
		}
	}
	if v != nil && len(v.zset) == 0 {
		delete(s.keys, args[0])
	}
	return integer(n)
}

func (v *value) score(name string) reply {
	if at := v.at(name); at >= 0 {
		return scoreOf(v.zset[at].score)
	}
	return reply{}
}

func (s *Server) zscore(args []string) reply {
	v, wrong := s.want(args[0], zset)
	if wrong {
		return wrongKind()
	}
	return v.score(args[1])
}

func (s *Server) zmscore(args []string) reply {
	v, wrong := s.want(args[0], zset)
	if wrong {
		return wrongKind()
	}
	out := make([]reply, len(args)-1)
	for i, name := range args[1:] {
		out[i] = v.score(name)
	}
	return list(out)
}

// interval is a range of scores; an end may be left out.
type interval struct {
	from, to      float64
	after, before bool // without the end itself
}

func parseInterval(low, high string) (in interval, ok bool) {
	low, in.after = strings.CutPrefix(low, "(")
	high, in.before = strings.CutPrefix(high, "(")
	var okLow, okHigh bool
	in.from, okLow = scoreIn(low)
	in.to, okHigh = scoreIn(high)
	return in, okLow && okHigh
}

// within returns the members whose scores are in the interval.
func (v *value) within(in interval) []member {
	if v == nil {
		return nil
	}
	first := 0
	for first < len(v.zset) && (v.zset[first].score < in.from || in.after && v.zset[first].score == in.from) {
		first++
	}
	last := first
	for last < len(v.zset) && (v.zset[last].score < in.to || !in.before && v.zset[last].score == in.to) {
		last++
	}
	return v.zset[first:last]
}

func notAFloat() reply { return errorOf("ERR min or max is not a float") }

func (s *Server) zcount(args []string) reply {
	in, ok := parseInterval(args[1], args[2])
	if !ok {
		return notAFloat()
	}
	v, wrong := s.want(args[0], zset)
	if wrong {
		return wrongKind()
	}
	return integer(len(v.within(in)))
}

func named(in []member, scores bool) reply {
	var out []reply
	for _, m := range in {
		out = append(out, bulk(m.name))
		if scores {
			out = append(out, scoreOf(m.score))
		}
	}
	return list(out)
}

// zrange knows ranks and WITHSCORES.
func (s *Server) zrange(args []string) reply {
	scores := len(args) == 4 && strings.EqualFold(args[3], "WITHSCORES")
	if len(args) > 3 && !scores {
		return errorOf("ERR syntax error")
	}
	from, err1 := strconv.Atoi(args[1])
	to, err2 := strconv.Atoi(args[2])
	if err1 != nil || err2 != nil {
		return notAnInteger()
	}
	v, wrong := s.want(args[0], zset)
	switch {
	case wrong:
		return wrongKind()
	case v == nil:
		return list(nil)
	}
	n := len(v.zset)
	if from < 0 {
		from = max(0, from+n)
	}
	if to < 0 {
		to += n
	}
	if to = min(to, n-1); from > to {
		return list(nil)
	}
	return named(v.zset[from:to+1], scores)
}

// zrangeByScore knows WITHSCORES and LIMIT.
func (s *Server) zrangeByScore(args []string) reply {
	between, ok := parseInterval(args[1], args[2])
	if !ok {
		return notAFloat()
	}
	offset, count, scores := 0, -1, false
	for rest := args[3:]; len(rest) > 0; rest = rest[1:] {
		switch {
		case strings.EqualFold(rest[0], "WITHSCORES"):
			scores = true
		case strings.EqualFold(rest[0], "LIMIT") && len(rest) >= 3:
			var err1, err2 error
			offset, err1 = strconv.Atoi(rest[1])
			count, err2 = strconv.Atoi(rest[2])
			if err1 != nil || err2 != nil {
				return notAnInteger()
			}
			rest = rest[2:]
		default:
			return errorOf("ERR syntax error")
		}
	}
	v, wrong := s.want(args[0], zset)
	if wrong {
		return wrongKind()
	}
	in := v.within(between)
	if offset < 0 || offset > len(in) {
		offset = len(in)
	}
	if in = in[offset:]; count >= 0 {
		in = in[:min(count, len(in))]
	}
	return named(in, scores)
}
