package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// How often progress is told.
const (
	barEvery  = 100 * time.Millisecond // on a terminal
	lineEvery = 5 * time.Second        // elsewhere
	barWidth  = 24
)

// meter tells how far something has come: on a terminal by a bar that is drawn over
// and over, elsewhere by a line now and then.
type meter struct {
	out      io.Writer
	terminal bool
	unit     string // what is done
	from, to uint64 // the sequences, to included
	began    time.Time
	told     time.Time
	drawn    bool
}

func newMeter(out io.Writer, unit string, from, to uint64) *meter {
	now := time.Now()
	return &meter{out: out, terminal: onTerminal(out), unit: unit, from: from, to: to, began: now, told: now}
}

// tell says that all before the sequence next has been dealt with, and what was done.
func (m *meter) tell(next, done uint64, now time.Time) {
	every := lineEvery
	if m.terminal {
		every = barEvery
	}
	if now.Sub(m.told) < every {
		return
	}
	m.told = now
	if !m.terminal {
		fmt.Fprintln(m.out, m.text(next, done, now))
		return
	}
	n := int(m.share(next) * barWidth)
	fmt.Fprintf(m.out, "\r\x1b[K[%s%s] %s", strings.Repeat("#", n), strings.Repeat("-", barWidth-n), m.text(next, done, now))
	m.drawn = true
}

// clear takes the bar away.
func (m *meter) clear() {
	if m.drawn {
		fmt.Fprint(m.out, "\r\x1b[K")
	}
}

// share is how much of the way is behind, 0 to 1.
func (m *meter) share(next uint64) float64 {
	next = min(max(next, m.from), m.to+1)
	return float64(next-m.from) / float64(m.to+1-m.from)
}

func (m *meter) text(next, done uint64, now time.Time) string {
	took, share := now.Sub(m.began), m.share(next)
	left := "time left unknown"
	if share > 0 {
		left = (time.Duration(float64(took) * (1 - share) / share)).Round(time.Second).String() + " left"
	}
	perSecond := float64(done) / max(took.Seconds(), 1e-3)
	return fmt.Sprintf("%3.0f%%  %d %s, %.4g/s, %s", 100*share, done, m.unit, perSecond, left)
}
