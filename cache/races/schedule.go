package races

import "time"

// A subject's own rights are a fact, and so are the role and the app's scopes,
// which all subjects share. A fact's value counts the changes it has seen.
const (
	role  = 2 // subjects are 0 and 1
	app   = 3
	facts = 4
)

// How far the parts of a case may stretch.
const (
	// skewMost is how far the clock of a worker or of the provider is off,
	// either way: NTP over a network keeps it within this.
	skewMost = 50 * time.Millisecond
	// copyOff is by how much the clock of a copy that takes over differs.
	copyOff   = 2 * time.Second
	busyTime  = 2 * time.Second  // in which the changes happen
	wholeTime = 70 * time.Second // longer than an entry lives
	life      = 60 * time.Second // of an entry, in every strategy
)

// schedule is what happens around the cache, whatever the cache does.
type schedule struct {
	dice     dice
	subjects int
	workers  int
	changes  []change
	notices  []notice
	readers  []reader
	losses   []loss
	troubles []trouble
}

type change struct {
	at    time.Duration
	fact  int
	value int
}

// notice tells a worker of a change.
type notice struct {
	at     time.Duration
	worker int
	change
}

type reader struct {
	at      time.Duration
	subject int
	worker  int // who fetches for it
}

// loss is an entry that vanishes before its time.
type loss struct {
	at      time.Duration
	subject int
}

type troubleKind int

const (
	quiet troubleKind = iota
	flush
	jump
	failover
)

// trouble is what befalls Redis. A failover goes to a copy that has what was
// written until copied; its clock differs by jump.
type trouble struct {
	kind       troubleKind
	copied, at time.Duration
	jump       time.Duration
}

// dice draws what happens from a case's seed and from what it happens to, so
// that what one strategy asks for does not move what another gets.
type dice uint64

type roll int

const (
	rollShape roll = iota
	rollChange
	rollNotice
	rollReader
	rollLoss
	rollTrouble
	rollSkew
	rollBefore
	rollAfter
	rollDeath
	rollAgain
)

// draw is 32 random bits (splitmix64).
func (d dice) draw(what roll, which int) uint64 {
	x := uint64(d)*0x9e3779b97f4a7c15 + uint64(what)<<32 + uint64(which) + 1
	for range 2 {
		x ^= x >> 30
		x *= 0xbf58476d1ce4e5b9
		x ^= x >> 27
		x *= 0x94d049bb133111eb
		x ^= x >> 31
	}
	return x >> 32
}

// below draws a number from 0 to n-1.
func (d dice) below(n int, what roll, which int) int {
	return int(d.draw(what, which) % uint64(n))
}

// span draws a duration; short ones come more often.
func (d dice) span(low, high time.Duration, what roll, which int) time.Duration {
	u := int64(d.draw(what, which) >> 12) // 20 bits
	us := (high - low).Microseconds() * u >> 20 * u >> 20
	return low + time.Duration(us)*time.Microsecond
}

// even draws a duration; all are alike.
func (d dice) even(low, high time.Duration, what roll, which int) time.Duration {
	u := int64(d.draw(what, which) >> 12)
	return low + time.Duration((high-low).Microseconds()*u>>20)*time.Microsecond
}

// skew is how far a worker's clock is off; the provider's is that of worker -1.
func (d dice) skew(worker int) time.Duration {
	return d.even(-skewMost, skewMost, rollSkew, worker+1)
}

func newSchedule(seed uint64) schedule {
	d := dice(seed)
	s := schedule{dice: d, subjects: 1 + d.below(2, rollShape, 0), workers: 2 + d.below(2, rollShape, 1)}
	s.addChanges(2 + d.below(3, rollShape, 2))
	for i := range 6 + d.below(4, rollShape, 3) {
		at := d.even(0, busyTime+time.Second, rollReader, 3*i)
		if i%3 == 2 {
			at = d.span(busyTime, wholeTime, rollReader, 3*i)
		}
		s.readers = append(s.readers, reader{
			at, d.below(s.subjects, rollReader, 3*i+1), d.below(s.workers, rollReader, 3*i+2),
		})
	}
	if d.below(5, rollLoss, 0) == 0 {
		s.losses = append(s.losses, loss{d.span(0, 2*busyTime, rollLoss, 1), d.below(s.subjects, rollLoss, 2)})
	}
	first := s.drawTrouble(0, 3)
	s.troubles = []trouble{first, s.drawTrouble(10, 2)} // one failover at most
	return s
}

func (s *schedule) addChanges(n int) {
	d := s.dice
	var values [facts]int
	at := time.Duration(0)
	for i := range n { // in order: the value of a fact grows
		at += d.span(time.Millisecond, 2*busyTime/time.Duration(n), rollChange, 2*i)
		fact := d.below(s.subjects+2, rollChange, 2*i+1)
		if fact >= s.subjects {
			fact += role - s.subjects
		}
		values[fact]++
		c := change{at, fact, values[fact]}
		s.changes = append(s.changes, c)
		copies := 1 + max(0, d.below(5, rollNotice, 100+i)-2)
		for k := range copies {
			j := 3*i + k
			late := d.span(time.Millisecond, 800*time.Millisecond, rollNotice, j)
			s.notices = append(s.notices, notice{at + late, d.below(s.workers, rollNotice, 200+j), c})
		}
	}
}

// drawTrouble draws one of the first kinds; most cases have none.
func (s *schedule) drawTrouble(which, kinds int) trouble {
	d := s.dice
	t := trouble{at: d.even(0, busyTime+time.Second, rollTrouble, which+1)}
	if d.below(10, rollTrouble, which) != 0 {
		return t
	}
	switch t.kind = flush + troubleKind(d.below(kinds, rollTrouble, which+2)); t.kind {
	case failover:
		t.copied = max(0, t.at-d.span(0, time.Second, rollTrouble, which+3))
		t.jump = d.even(-copyOff, copyOff, rollTrouble, which+4)
	case jump:
		t.jump = []time.Duration{-10 * time.Minute, -time.Minute, -time.Second, -time.Millisecond,
			time.Second, time.Minute, 10 * time.Minute}[d.below(7, rollTrouble, which+5)]
	}
	return t
}
