package fence

import (
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Without returns the store with a guard taken out of its scripts: every old
// text must be there, and is replaced by the new one after it.
func (s *Store) Without(oldNew ...string) (*Store, error) {
	texts := []string{prelude, beginLua, commitLua, invalidateLua}
	for i := 0; i < len(oldNew); i += 2 {
		found := false
		for j, t := range texts {
			found = found || strings.Contains(t, oldNew[i])
			texts[j] = strings.ReplaceAll(t, oldNew[i], oldNew[i+1])
		}
		if !found {
			return nil, fmt.Errorf("no script has %q", oldNew[i])
		}
	}
	c := *s
	c.scripts.begin = redis.NewScript(texts[0] + texts[1])
	c.scripts.commit = redis.NewScript(texts[0] + texts[2])
	c.scripts.invalidate = redis.NewScript(texts[0] + texts[3])
	return &c, nil
}

// Bounded returns the store with another chunk and another cap of the fence.
func (s *Store) Bounded(chunk, members int) *Store {
	c := *s
	c.chunk, c.members = chunk, members
	return &c
}
