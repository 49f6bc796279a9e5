package providertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/subscriptions"
)

// budgets: every call was granted before it was made, and is booked once.
func budgets(t testing.TB, s *stage) {
	for range 2 {
		for _, d := range s.doings() {
			if err := d.do(t); err != nil {
				t.Errorf("%s: %v", d.name, err)
			}
		}
	}
	if r, ok := s.Provider.(subscriptions.Registrar); ok {
		made, err := r.Create(t.Context(), s.order(r.Wanted()[0]))
		must(t, err)
		must(t, r.Delete(t.Context(), made.ID))
	}
	calls, _ := s.wire.tally()
	sent, _ := s.ledger.audit(t, string(s.site.Home.Provider))
	if calls == 0 || sent != s.site.Lanes*calls {
		t.Errorf("%d calls, each in %d lanes, but %d were granted", calls, s.site.Lanes, sent)
	}
	if got := s.Calls(); got != calls {
		t.Errorf("the simulator counts %d calls, the suite %d", got, calls)
	}
}

// refusedBudget: without a grant there is no call, and the reason is the error.
func refusedBudget(t testing.TB, s *stage) {
	later := &subscriptions.Later{Until: time.Now().Add(time.Minute), Group: "a group"}
	away := errors.New("the account of calls is away")
	for _, tokens := range []bool{false, true} { // there are tokens in the vault
		for _, why := range []error{later, away} {
			before, _ := s.wire.tally()
			s.ledger.refusing(why)
			for _, d := range s.doings() {
				if err := d.do(t); !errors.Is(err, why) {
					t.Errorf("%s, tokens %t: got %v, want %v", d.name, tokens, err, why)
				}
			}
			if after, _ := s.wire.tally(); after != before {
				t.Errorf("%d calls were made without a grant", after-before)
			}
		}
		s.ledger.refusing(nil)
		if err := s.doings()[0].do(t); err != nil {
			t.Errorf("read, once there is a budget: %v", err)
		}
	}
}

// deadTokens: one is replaced once. Where no new one helps, that is an error.
func deadTokens(t testing.TB, s *stage) {
	usual := map[string]int{} // calls
	for range 2 {             // the second time each has its token
		for _, d := range s.doings() {
			calls, _ := s.wire.tally()
			must(t, d.do(t))
			after, _ := s.wire.tally()
			usual[d.name] = after - calls
		}
	}
	first, _, err := s.read(t, s.Ref)
	must(t, err)
	_, before := s.wire.tally()
	s.Kill()
	again, _, err := s.read(t, s.Ref)
	if err != nil || !maps.Equal(first.Grants, again.Grants) {
		t.Errorf("after the token's end: %+v, %v; want %+v", again, err, first)
	}
	if _, after := s.wire.tally(); after != before+s.site.Tokens {
		t.Errorf("%d tokens were asked for in place of %d", after-before, s.site.Tokens)
	}
	s.wire.meet(fault{at: isCall, left: -1, reply: saying(s.Dead)})
	for _, d := range s.doings() {
		calls, tokens := s.wire.tally()
		err := d.do(t)
		calls2, tokens2 := s.wire.tally()
		made := tokens2 - tokens
		if err == nil || made > usual[d.name] || calls2-calls > 3*usual[d.name] { // once for each call
			t.Errorf("%s, all tokens dead: %v, %d calls, %d tokens", d.name, err, calls2-calls, made)
		}
		var later *subscriptions.Later
		if errors.As(err, &later) {
			t.Errorf("%s, all tokens dead: %v is no limit", d.name, err)
		}
	}
}

// limits: a call too many says when the next may be made, to the budget too.
func limits(t testing.TB, s *stage) {
	must(t, s.doings()[0].do(t)) // has a token
	s.wire.meet(fault{at: isCall, left: -1, reply: saying(s.Limited)})
	for _, d := range s.doings() {
		before, _ := s.wire.tally()
		err := d.do(t)
		after, _ := s.wire.tally()
		var later *subscriptions.Later
		if !errors.As(err, &later) || time.Until(later.RetryAt()) < 30*time.Second ||
			time.Until(later.RetryAt()) > time.Hour {
			t.Errorf("%s: got %v, want a *Later of about a minute", d.name, err)
		}
		if errors.Is(err, subscriptions.ErrMisconfigured) || after-before > 5 {
			t.Errorf("%s: %v after %d calls", d.name, err, after-before)
		}
	}
	if _, penalties := s.ledger.audit(t, string(s.site.Home.Provider)); penalties == 0 {
		t.Error("the budget was told of no penalty")
	}
}

// refused is a connection that is not made.
func refused(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
}

// outages: what may pass is tried again, and else an error that may pass; a
// refusal that says nothing is no answer.
func outages(t testing.TB, s *stage) {
	want, _, err := s.read(t, s.Ref)
	must(t, err)
	for name, reply := range map[string]func(*http.Request) (*http.Response, error){
		"500": saying(status(500, "")), "502 of a proxy": saying(status(502, "<html>")), "refused": refused,
	} {
		s.wire.meet(fault{at: isCall, left: 1, reply: reply})
		a, _, err := s.read(t, s.Ref)
		if err != nil || !maps.Equal(a.Grants, want.Grants) {
			t.Errorf("%s once: %+v, %v", name, a, err)
		}
		s.fails(t, name, fault{at: isCall, left: -1, reply: reply})
		s.Kill()
		s.fails(t, name+", of the token endpoint too", fault{at: isAny, left: -1, reply: reply})
		s.wire.meet(fault{})
	}
	for _, code := range []int{403, 404} {
		s.wire.meet(fault{at: isCall, left: -1, reply: saying(status(code, ""))})
		for _, d := range s.doings() {
			var later *subscriptions.Later
			if err := d.do(t); err == nil || errors.As(err, &later) {
				t.Errorf("%s, %d without a body: %v", d.name, code, err)
			}
		}
	}
}

// fails: everything ends in an error that may pass.
func (s *stage) fails(t testing.TB, name string, f fault) {
	t.Helper()
	s.wire.meet(f)
	for _, d := range s.doings() {
		var later *subscriptions.Later
		err := d.do(t)
		if err == nil || errors.As(err, &later) || errors.Is(err, subscriptions.ErrMisconfigured) ||
			errors.Is(err, subscriptions.ErrGone) {
			t.Errorf("%s, %s: got %v, want an error that may pass", d.name, name, err)
		}
	}
}

// warps are what may become of the body of a success.
var warps = map[string]func([]byte) []byte{
	"cut short":      func(b []byte) []byte { return b[:len(b)/2] },
	"empty":          func([]byte) []byte { return nil },
	"HTML":           func([]byte) []byte { return []byte("<html>") },
	"null":           func([]byte) []byte { return []byte("null") },
	"a list":         func([]byte) []byte { return []byte("[]") },
	"text":           func([]byte) []byte { return []byte(`"x"`) },
	"{}":             func([]byte) []byte { return []byte("{}") },
	"all numbers":    func(b []byte) []byte { return every(b, 7.5) },
	"all null":       func(b []byte) []byte { return every(b, nil) },
	"all text":       func(b []byte) []byte { return every(b, "x") },
	"all lists":      func(b []byte) []byte { return every(b, []any{[]any{}}) },
	"over the limit": func(b []byte) []byte { return append(bytes.Repeat([]byte(" "), 5<<20), b...) },
}

// every replaces the members of an object.
func every(b []byte, leaf any) []byte {
	var object map[string]any
	if json.Unmarshal(b, &object) != nil {
		return nil
	}
	for key := range object {
		object[key] = leaf
	}
	out, err := json.Marshal(object)
	if err != nil {
		return nil
	}
	return out
}

// replies: a success that is not what the vendor's description promises is no
// answer, whichever call it answers.
func replies(t testing.TB, s *stage) {
	must(t, s.doings()[0].do(t)) // has a token
	for _, name := range slices.Sorted(maps.Keys(warps)) {
		s.wire.meet(fault{at: isCall, left: -1, warp: warps[name]})
		for _, d := range s.doings() {
			if err := d.do(t); err == nil || errors.Is(err, subscriptions.ErrGone) {
				t.Errorf("%s, replies are %s: %v", d.name, name, err)
			}
		}
		s.Kill()
		s.wire.meet(fault{at: isToken, left: -1, warp: warps[name]})
		if err := s.doings()[0].do(t); err == nil {
			t.Errorf("the token is %s, and is read with", name)
		}
		s.wire.meet(fault{})
		must(t, s.doings()[0].do(t))
	}
	s.eachReply(t)
}

// eachReply warps the reply of one call of a reading at a time. What then still is
// an answer, since that reply was not needed, grants nothing more.
func (s *stage) eachReply(t testing.TB) {
	t.Helper()
	want, _, err := s.read(t, s.Ref)
	must(t, err)
	for _, path := range s.paths(t) {
		at := func(r *http.Request) bool { return r.Method+" "+r.URL.Path == path }
		for _, name := range slices.Sorted(maps.Keys(warps)) {
			s.wire.meet(fault{at: at, left: -1, warp: warps[name]})
			a, _, err := s.read(t, s.Ref)
			if err == nil && a.Judge(s.Held) == cache.Denied {
				t.Errorf("%s is %s: %s is denied", path, name, s.Held)
			}
			for g, width := range a.Grants {
				if want.Grants[g] != width {
					t.Errorf("%s is %s: %s=%s is granted", path, name, g, width)
				}
			}
		}
	}
	s.wire.meet(fault{})
}

// paths are the calls of one reading.
func (s *stage) paths(t testing.TB) []string {
	t.Helper()
	before, _ := s.wire.tally()
	must(t, s.doings()[0].do(t))
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(s.wire.calls[before:])))
}

// secrets: whatever happens, none is told. What was told is searched at the end of
// every check; this one makes all happen in turn.
func secrets(t testing.TB, s *stage) {
	if door, ok := s.Provider.(subscriptions.Door); ok && s.Trigger != nil {
		good, _ := s.deliver(t)
		for _, d := range s.forged(good) {
			reply, err := door.Verify(d)
			s.tell(reply, err)
		}
	}
	for _, f := range []fault{
		{},
		{at: isAny, left: -1, reply: refused},
		{at: isCall, left: -1, reply: saying(s.Dead)},
		{at: isAny, left: -1, reply: saying(status(400, `{"error":"x","error_description":"`+marker+`"}`))},
		{at: isAny, left: -1, warp: warps["cut short"]},
		{},
	} {
		s.wire.meet(f)
		for _, d := range s.doings() {
			if err := d.do(t); (err == nil) != (f.at == nil) {
				t.Errorf("%s: %v", d.name, err)
			}
		}
		s.Kill()
	}
}
