package refresh

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

// Journal is told what became of changes and entries. It never waits: it is called
// on the path of changes.
type Journal interface {
	Note(o events.Outcome)
}

func (f *Filler) note(o events.Outcome) {
	if f.Journal != nil {
		f.Journal.Note(o)
	}
}

// applied is what one step has done for a tenant.
type applied struct {
	home events.Home
	ms   []stream.Message
	in   fence.Invalidated
	at   time.Time
	why  string // it is not all that was to be done
}

// record notes each change that hit something alive, and the others of the batch
// together.
func (w *Worker) record(a applied, of blame) {
	if w.Filler.Journal == nil {
		return
	}
	var cold []stream.Message
	for i, m := range a.ms {
		entries, count := of.entries(i)
		if count == 0 {
			cold = append(cold, m)
			continue
		}
		w.Filler.note(a.outcome(m, entries, count))
	}
	for len(cold) > 0 {
		n := min(len(cold), events.MaxSequences)
		w.Filler.note(a.summary(cold[:n]))
		cold = cold[n:]
	}
}

func (a applied) outcome(m stream.Message, entries []events.Entry, count int) events.Outcome {
	o := events.Outcome{
		Kind: events.Invalidated, Home: a.home, At: a.at, Change: m.Change.ID, Sequence: m.Sequence,
		Tags: m.Change.Tags, Entries: entries, EntryCount: count, Version: uint64(a.in.Number), Reason: a.reason(),
		SinceReceived: a.at.Sub(m.Change.Received),
	}
	if len(a.ms) > 1 {
		o.Together = len(a.ms)
	}
	return o
}

func (a applied) reason() string {
	if !a.in.Drained {
		return a.why
	}
	return strings.TrimPrefix(a.why+"; the whole tenant was dropped: "+a.in.Why, "; ")
}

func (a applied) summary(ms []stream.Message) events.Outcome {
	o := events.Outcome{Kind: events.Invalidated, Home: a.home, At: a.at, Version: uint64(a.in.Number),
		Reason: a.reason(), Sequences: make([]uint64, len(ms))}
	for i, m := range ms {
		o.Sequences[i] = m.Sequence
	}
	return o
}

// blame says which change of a batch an entry was dropped for. The fence drops for
// all their tags at once and does not say for which.
type blame struct {
	ms    []stream.Message
	named map[events.Subject][]int // changes that name a subject
	wide  []int                    // changes that have another tag
	own   []listed                 // what is to be told of each change
	all   listed                   // and of each that is wide
}

// listed is the first entries of as many.
type listed struct {
	entries []events.Entry
	count   int
}

func (l *listed) add(r events.Ref) {
	if l.count++; len(l.entries) < events.MaxListed {
		l.entries = append(l.entries, events.Entry{Subject: r.Subject, Resource: r.Resource})
	}
}

func blameOf(ms []stream.Message, alive []fence.Alive) blame {
	b := blame{ms: ms, own: make([]listed, len(ms))}
	if len(alive) == 0 {
		return b
	}
	if len(ms) > 1 {
		b.index()
	}
	for _, a := range alive {
		switch changes := b.named[a.Subject]; {
		case len(changes) > 0:
			for _, i := range changes {
				b.own[i].add(a.Ref)
			}
		case len(b.wide) > 0:
			b.all.add(a.Ref)
		default:
			b.own[0].add(a.Ref)
		}
	}
	return b
}

// index finds who names which subject.
func (b *blame) index() {
	b.named = map[events.Subject][]int{}
	for i, m := range b.ms {
		wide := false
		for _, t := range m.Change.Tags {
			if t.Kind == events.KindSubject {
				b.named[events.Subject(t.ID)] = append(b.named[events.Subject(t.ID)], i)
			} else {
				wide = true
			}
		}
		if wide {
			b.wide = append(b.wide, i)
		}
	}
}

// entries are those to be told of a change.
func (b *blame) entries(i int) (entries []events.Entry, count int) {
	own := b.own[i]
	if _, wide := slices.BinarySearch(b.wide, i); wide {
		rest := min(len(b.all.entries), events.MaxListed-len(own.entries))
		return append(own.entries, b.all.entries[:rest]...), own.count + b.all.count
	}
	return own.entries, own.count
}

// cause is the first change that an entry may have been dropped for.
func (b *blame) cause(a fence.Alive) string {
	i := 0
	if changes := b.named[a.Subject]; len(changes) > 0 {
		i = changes[0]
	} else if len(b.wide) > 0 {
		i = b.wide[0]
	}
	return b.ms[i].Change.ID
}

// about begins an outcome of one entry.
func about(k events.Kind, r events.Ref) events.Outcome {
	return events.Outcome{Kind: k, Home: r.Home, At: time.Now(),
		Entries: []events.Entry{{Subject: r.Subject, Resource: r.Resource}}}
}

// ofTask begins an outcome of a task.
func ofTask(k events.Kind, t stream.Task) events.Outcome {
	o := about(k, t.Ref)
	o.SinceAsked = o.At.Sub(t.Asked)
	if strings.HasPrefix(t.Reason, events.ChangeID(t.Home, "")) {
		o.Change = t.Reason
	}
	return o
}

// refetched notes that an entry is fresh again.
func (w *Worker) refetched(t stream.Task, r Result) {
	if !r.Stored {
		return
	}
	o := ofTask(events.Refetched, t)
	o.Version = uint64(r.Version)
	if !r.Fetched {
		o.Reason = "somebody else had fetched it"
	}
	w.Filler.note(o)
	if r.Fetched && r.Confirmed {
		o.Kind = events.Confirmed
		w.Filler.note(o)
	}
}

// lookedAt notes that an entry was fetched once more because of its last change.
func (w *Worker) lookedAt(t stream.Task, r Result) {
	if t.Since.IsZero() || !r.Fetched || !r.Stored {
		return
	}
	o := ofTask(events.Refetched, t)
	o.Version, o.SinceApplied, o.Reason = uint64(r.Version), r.AsOf.Sub(t.Since), "looked at once more"
	if r.Confirmed {
		o.Kind, o.Reason = events.Confirmed, ""
	}
	w.Filler.note(o)
}

// lateBy notes how late the provider was, and the correction that tells of it.
func (w *Worker) lateBy(t stream.Task, r Result, by time.Duration, correction string) {
	o := ofTask(events.Late, t)
	o.Version, o.SinceApplied, o.Change = uint64(r.Version), by, correction
	o.Reason = fmt.Sprintf("the provider still gave its old answer, for up to %s", by.Round(time.Millisecond))
	w.Filler.note(o)
}

// fenced notes that what was fetched was refused.
func (f *Filler) fenced(r events.Ref, refused, thing string) {
	o := about(events.Fenced, r)
	o.Reason = "refused by: " + refused
	if thing != "" {
		o.Reason += "; fetched again: " + thing
	}
	f.note(o)
}

// changeDead and taskDead note what could not be handled.
func (w *Worker) changeDead(m stream.Message, why error) {
	w.Filler.note(events.Outcome{Kind: events.Dead, Home: m.Home(), At: time.Now(), Change: m.Change.ID,
		Sequence: m.Sequence, Tags: m.Change.Tags,
		Reason: fmt.Sprintf("after %d deliveries: %v", m.Deliveries, why)})
}

func (w *Worker) taskDead(t stream.Task, why error) {
	o := ofTask(events.Dead, t)
	o.Reason = fmt.Sprintf("refresh, after %d attempts: %v", t.Attempt, why)
	w.Filler.note(o)
}
