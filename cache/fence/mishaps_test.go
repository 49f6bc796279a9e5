package fence_test

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rescindhq/rescind/cache"
)

// What befalls the machine.

// loseKey loses any key; of the fence and the indexes one at a time.
func (m *machine) loseKey() error {
	if !m.rarely(3) {
		return nil
	}
	all, err := m.Keys(m.ctx, "*").Result()
	if err != nil || len(all) == 0 {
		return err
	}
	slices.Sort(all)
	key := all[m.draw(len(all))]
	if rest := strings.TrimPrefix(key, m.keys.Base(home)); rest == "f" || strings.HasPrefix(rest, "t:") {
		if m.loss.now != 0 || m.carried != nil {
			return nil
		}
		m.loss.last++
		m.loss.now = m.loss.last
	}
	m.note("lose %s", key)
	return m.Del(m.ctx, key).Err()
}

func (m *machine) flush() error {
	if !m.rarely(6) {
		return nil
	}
	m.note("flush")
	m.loss.now = 0
	return m.FlushDB(m.ctx).Err()
}

func (m *machine) wait() error {
	d := [...]time.Duration{
		time.Second, time.Second, 2 * time.Second, 20 * time.Second, 40 * time.Second, 6 * time.Minute,
	}[m.draw(6)]
	m.now = m.now.Add(d)
	m.Mini.SetTime(m.now)
	m.Mini.FastForward(d)
	m.note("wait %s", d)
	return nil
}

func (m *machine) jump() error {
	if !m.rarely(2) {
		return nil
	}
	d := [...]time.Duration{
		-time.Second, -time.Minute, -10 * time.Minute, time.Minute, 10 * time.Minute,
	}[m.draw(5)]
	m.now = m.now.Add(d)
	m.Mini.SetTime(m.now)
	m.note("jump %s", d)
	return nil
}

// lag cuts the copy off from what happens at the primary, or lets it catch up.
func (m *machine) lag() error {
	if m.lags {
		m.note("the copy catches up")
		m.lags = false
		return m.copy.attach()
	}
	m.note("the copy lags")
	m.lags, m.loss.copied = true, m.loss.now
	return m.copy.detach()
}

// promote makes the copy the primary, unless it lost something too.
func (m *machine) promote() error {
	if !m.lags {
		m.loss.copied = m.loss.now
	}
	if m.loss.copied != 0 || !m.rarely(2) {
		return nil
	}
	m.note("promote the copy")
	if err := m.copy.promote(); err != nil {
		return err
	}
	m.count.failovers++
	m.epoch++
	m.lags, m.loss.now, m.carried = false, 0, map[int]cache.Version{}
	for s := range subjects {
		v, err := m.HGet(m.ctx, m.keys.Entry(ref(strconv.Itoa(s))), cache.FieldVersion).Uint64()
		if err != nil {
			continue // none was carried over
		}
		m.carried[s] = cache.Version(v)
		m.count.inherited++
	}
	return nil
}
