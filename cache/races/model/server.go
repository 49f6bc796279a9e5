package model

import (
	"maps"
	"slices"
	"sync"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// Server is one Redis. It is safe for concurrent use; Close it at the end.
type Server struct {
	mu    sync.Mutex
	now   int64 // unix us
	id    string
	keys  map[string]*value
	known map[string]bool // the scripts that were loaded, by SHA1
	lua   *lua.LState
	progs map[string]*program // compiled, by SHA1: they outlive a failover
	args  []string            // of the command that a script is calling
}

// kind is a type of value, in Redis's word for it.
type kind string

const (
	none  kind = "none"
	text  kind = "string"
	hash  kind = "hash"
	zset  kind = "zset"
	never      = int64(0)
)

// value is what stands under a key.
type value struct {
	kind   kind
	text   string
	fields []field
	zset   []member // by score, then by name
	expire int64    // unix ms, or never
}

type field struct{ name, value string }

type member struct {
	name  string
	score float64
}

// Copy is what a replica has, and what it is called once it is the server.
type Copy struct {
	keys map[string]*value
}

// New returns an empty server whose replication id is id: 40 hexadecimal
// digits. Its clock stands at now.
func New(now time.Time, id string) *Server {
	s := &Server{
		now: now.UnixMicro(), id: id, keys: map[string]*value{},
		known: map[string]bool{}, progs: map[string]*program{},
	}
	s.lua = s.newState()
	return s
}

// Close gives the memory of the script engine back.
func (s *Server) Close() { s.lua.Close() }

// Reset empties the server, names it, and sets its clock. Scripts stay loaded.
func (s *Server) Reset(now time.Time, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now, s.id = now.UnixMicro(), id
	clear(s.keys)
}

// SetClock sets the clock, forth or back, with microseconds.
func (s *Server) SetClock(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now.UnixMicro()
}

// Now is what the clock shows.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.UnixMicro(s.now)
}

// Copy is a replica that has everything up to now, and nothing later.
func (s *Server) Copy() Copy {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Copy{copied(s.keys)}
}

// FailOver makes a copy the server. Its replication id is new, its scripts are
// not loaded; everything that was written since the copy was taken is lost.
func (s *Server) FailOver(to Copy, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.id = copied(to.keys), id
	clear(s.known)
}

// FlushAll loses every key. The replication id stays, as with FLUSHALL.
func (s *Server) FlushAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.keys)
}

func copied(keys map[string]*value) map[string]*value {
	out := maps.Clone(keys)
	for k, v := range out {
		c := *v
		c.fields, c.zset = slices.Clone(v.fields), slices.Clone(v.zset)
		out[k] = &c
	}
	return out
}

// find returns what lives under a key; nil if nothing does.
func (s *Server) find(key string) *value {
	v := s.keys[key]
	if v != nil && v.expire != never && v.expire <= s.now/1000 {
		delete(s.keys, key)
		return nil
	}
	return v
}

// want returns what lives under a key if it is of that kind; wrong says that
// it is of another.
func (s *Server) want(key string, k kind) (v *value, wrong bool) {
	v = s.find(key)
	return v, v != nil && v.kind != k
}

// make returns what lives under a key, after putting an empty one there if
// nothing does.
func (s *Server) make(key string, k kind) (v *value, wrong bool) {
	if v, wrong = s.want(key, k); v == nil {
		v = &value{kind: k}
		s.keys[key] = v
	}
	return v, wrong
}
