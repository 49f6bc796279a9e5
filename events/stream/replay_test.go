package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

var otherHome = events.Home{Provider: "box", Tenant: "987"}

func changeOf(h events.Home, id string, tags ...events.Tag) events.Change {
	c := change(id)
	c.Home, c.ID = h, events.ChangeID(h, id)
	if len(tags) > 0 {
		c.Tags = tags
	}
	return c
}

// publishAll publishes in order.
func publishAll(t *testing.T, s *stream.Stream, changes ...events.Change) {
	t.Helper()
	for _, c := range changes {
		publish(t, s, c)
	}
}

func spanOf(t *testing.T, s *stream.Stream, sel stream.Selection) stream.Selection {
	t.Helper()
	ok, err := s.Span(t.Context(), &sel)
	if err != nil || !ok {
		t.Fatalf("selected: %t, %v", ok, err)
	}
	return sel
}

func replay(t *testing.T, s *stream.Stream, r stream.Replay) stream.Replayed {
	t.Helper()
	if r.ToSeq == 0 {
		r.Selection = spanOf(t, s, r.Selection)
	}
	done, err := s.Replay(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// after are the tags of what was published after a sequence, by tenant and in order.
func after(t *testing.T, s *stream.Stream, sequence uint64) map[events.Home][]string {
	t.Helper()
	got := map[events.Home][]string{}
	for _, m := range readAll(t, s, stream.ReadOptions{FromSeq: sequence + 1}) {
		if m.DecodeErr != nil || m.Change.Source != events.Replay {
			t.Errorf("published: %+v", m)
		}
		for _, tag := range m.Change.Tags {
			got[m.Change.Home] = append(got[m.Change.Home], tag.String())
		}
	}
	return got
}

func TestReplayMergesByTenant(t *testing.T) {
	s, _ := opened(t)
	publishAll(t, s, changeOf(home, "1"), changeOf(otherHome, "2"), changeOf(home, "1 again", events.SubjectTag("1")),
		changeOf(home, "3", events.RoleTag("7"), events.SubjectTag("1"), events.AppTag))
	done := replay(t, s, stream.Replay{Run: "a"})
	want := stream.Replayed{Changes: 4, Messages: 2, Next: 5, Seen: 5}
	if diff := cmp.Diff(want, done); diff != "" {
		t.Error(diff)
	}
	tags := map[events.Home][]string{home: {"subject:1", "role:7", "app"}, otherHome: {"subject:2"}}
	if diff := cmp.Diff(tags, after(t, s, 4)); diff != "" {
		t.Error(diff)
	}
	for _, m := range readAll(t, s, stream.ReadOptions{FromSeq: 5}) {
		first, ok := events.ReplayOf(m.Change)
		if !ok || first > 2 {
			t.Errorf("ID %s", m.Change.ID)
		}
	}
}

// No message of a replay is larger than what a worker does in one step.
func TestReplaySplitsLongChanges(t *testing.T) {
	s, _ := opened(t)
	var want []string
	var tags []events.Tag
	for i := range 2*stream.MergedTags + 10 {
		tags = append(tags, events.SubjectTag(events.Subject(fmt.Sprint(i))))
		want = append(want, tags[i].String())
	}
	var wide []events.Tag
	for i := range 400 { // more than one message may have of text
		wide = append(wide, events.RoleTag(fmt.Sprintf("%0250d", i)))
		want = append(want, wide[i].String())
	}
	publishAll(t, s, changeOf(home, "many", tags...), changeOf(home, "wide", wide...))
	done := replay(t, s, stream.Replay{Run: "a"})
	if done.Changes != 2 || done.Messages < 4 {
		t.Errorf("got %+v", done)
	}
	if diff := cmp.Diff(want, after(t, s, 2)[home]); diff != "" {
		t.Error(diff)
	}
	for _, m := range readAll(t, s, stream.ReadOptions{FromSeq: 3}) {
		if len(m.Change.Tags) > stream.MergedTags || m.Size > 100_000 {
			t.Errorf("%d tags, %d bytes", len(m.Change.Tags), m.Size)
		}
	}
}

func TestReplaySelects(t *testing.T) {
	s, nc := opened(t)
	tail := changeOf(home, "4", events.RoleTag("7"))
	tail.Source = events.Tail
	said := changeOf(home, "5")
	said.Source = events.Replay
	publishAll(t, s, changeOf(home, "1"), changeOf(otherHome, "2", events.RoleTag("7")), changeOf(home, "3"), tail, said)
	if _, err := jetStream(t, nc).Publish(t.Context(), events.ChangeSubject(home), []byte("?")); err != nil {
		t.Fatal(err)
	}
	role := []events.Tag{events.RoleTag("7")}
	for name, c := range map[string]struct {
		sel        stream.Selection
		want       []uint64
		unreadable uint64
	}{
		"all but replays": {stream.Selection{}, []uint64{1, 2, 3, 4}, 1},
		"replays":         {stream.Selection{Source: events.Replay}, []uint64{5}, 0},
		"a source":        {stream.Selection{Source: events.Tail}, []uint64{4}, 0},
		"a tag":           {stream.Selection{Tags: role}, []uint64{2, 4}, 0},
		"one of two tags": {stream.Selection{Tags: append(role, events.SubjectTag("1"))}, []uint64{1, 2, 4}, 0},
		"a tenant":        {stream.Selection{Home: otherHome}, []uint64{2}, 0},
		"a provider":      {stream.Selection{Home: events.Home{Provider: "box"}}, []uint64{2}, 0},
		"sequences":       {stream.Selection{FromSeq: 2, ToSeq: 3}, []uint64{2, 3}, 0},
		"all of it":       {stream.Selection{FromSeq: 3, Tags: role, Home: home, Source: events.Tail}, []uint64{4}, 0},
		"beyond the end":  {stream.Selection{FromSeq: 4, ToSeq: 99}, []uint64{4}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			sel := spanOf(t, s, c.sel)
			var got []uint64
			var odd uint64
			err := s.Pick(t.Context(), sel, 2, func(ms []stream.Stored, next uint64) error {
				if len(ms) > 2 || ms[len(ms)-1].Sequence >= next {
					t.Errorf("%d at a time, then from %d", len(ms), next)
				}
				for _, m := range ms {
					if m.DecodeErr != nil {
						odd++
						continue
					}
					got = append(got, m.Sequence)
				}
				return nil
			})
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil || odd != c.unreadable {
				t.Errorf("%v, %d unreadable, %s", err, odd, diff)
			}
		})
	}
	before, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done := replay(t, s, stream.Replay{Run: "a", Selection: stream.Selection{}})
	if done.Changes != 4 || done.Unreadable != 1 || done.Next != before.LastSeq+1 {
		t.Errorf("got %+v", done)
	}
}

// More than is read at a time comes in order, and all of it.
func TestPickMany(t *testing.T) {
	s, nc := opened(t)
	const n = 45_000
	publishMany(t, s, n)
	sel := spanOf(t, s, stream.Selection{})
	last, from := uint64(0), uint64(1)
	err := s.Pick(t.Context(), sel, 1000, func(ms []stream.Stored, next uint64) error {
		for _, m := range ms {
			if last++; m.Sequence != last {
				return fmt.Errorf("%d comes after %d", m.Sequence, last-1)
			}
		}
		if next != last+1 || len(ms) > 1000 || ms[0].Sequence != from {
			return fmt.Errorf("%d from %d, then from %d", len(ms), ms[0].Sequence, next)
		}
		from = next
		return nil
	})
	if err != nil || last != n {
		t.Errorf("ended at %d: %v", last, err)
	}
	st, err := jetStream(t, nc).Stream(t.Context(), stream.Changes)
	if err != nil || st.CachedInfo().State.Consumers > 10 {
		t.Errorf("%d readers are left at the server, %v", st.CachedInfo().State.Consumers, err)
	}
}

func TestNothingIsSelected(t *testing.T) {
	s, _ := opened(t)
	for range 2 {
		for _, sel := range []stream.Selection{
			{Home: otherHome}, {FromSeq: 7}, {Since: time.Now().Add(time.Hour)}, {Source: events.Tail},
		} {
			if ok, err := s.Span(t.Context(), &sel); ok || err != nil {
				t.Errorf("%+v: %t, %v", sel, ok, err)
			}
		}
		publish(t, s, change("1"))
	}
}

// The same run does nothing twice; with another selection, or another run, it does.
func TestReplayAgain(t *testing.T) {
	s, _ := opened(t)
	publishMany(t, s, 600)
	sel := spanOf(t, s, stream.Selection{})
	first := replay(t, s, stream.Replay{Run: "a", Selection: sel})
	if first.Changes != 600 || first.Messages != 3 || first.Known != 0 {
		t.Errorf("first: %+v", first)
	}
	again := replay(t, s, stream.Replay{Run: "a", Selection: sel})
	if again.Changes != 600 || again.Known != 3 {
		t.Errorf("again: %+v", again)
	}
	sel.ToSeq = 300
	less := replay(t, s, stream.Replay{Run: "a", Selection: sel})
	if less.Messages != 2 || less.Known != 1 { // 1 to 256 is the same, 257 to 300 is not
		t.Errorf("less: %+v", less)
	}
	sel.FromSeq = 256
	moved := replay(t, s, stream.Replay{Run: "a", Selection: sel})
	if moved.Known != 0 {
		t.Errorf("from elsewhere: %+v", moved)
	}
	if other := replay(t, s, stream.Replay{Run: "b", Selection: sel}); other.Known != 0 {
		t.Errorf("another run: %+v", other)
	}
}

// It ends where it is told to, and goes on so that every change is said.
func TestReplayIsInterruptedAndGoesOn(t *testing.T) {
	s, _ := opened(t)
	const n = 1000
	publishMany(t, s, n)
	sel := spanOf(t, s, stream.Selection{})
	ctx, cancel := context.WithCancel(t.Context())
	r := stream.Replay{Run: "a", Selection: sel, Rate: 2000, Report: func(r stream.Replayed) {
		if r.Changes >= 400 {
			cancel()
		}
	}}
	done, err := s.Replay(ctx, r)
	wantError(t, err, context.Canceled)
	if done.Next <= 400 || done.Next > n {
		t.Fatalf("interrupted at %+v", done)
	}
	if done.Next != done.Changes+1 {
		t.Errorf("%d changes are done before %d", done.Changes, done.Next)
	}
	published := after(t, s, n)[home]
	if uint64(len(published)) != done.Changes {
		t.Errorf("%d changes are in the stream, and %d said to be", len(published), done.Changes)
	}
	r.FromSeq, r.Report, r.Rate = done.Next, nil, 0
	rest := replay(t, s, r)
	if rest.Changes+done.Changes != n {
		t.Errorf("%d changes, then %d, of %d", done.Changes, rest.Changes, n)
	}
	var want []string
	for _, m := range readAll(t, s, stream.ReadOptions{ToSeq: n}) {
		want = append(want, m.Change.Tags[0].String())
	}
	if diff := cmp.Diff(want, after(t, s, n)[home]); diff != "" {
		t.Errorf("what was said is not in order, or not all: %s", diff)
	}
}

func TestReplayKeepsItsRate(t *testing.T) {
	s, _ := opened(t)
	publishMany(t, s, 300)
	start := time.Now()
	replay(t, s, stream.Replay{Run: "a", Rate: 500})
	if took := time.Since(start); took < 450*time.Millisecond || took > 5*time.Second {
		t.Errorf("300 changes at 500 a second took %s", took)
	}
}

func TestReplayAcrossAnOutage(t *testing.T) {
	o, nc := withOutage(t)
	s := openOn(t, nc)
	const n = 3000
	publishMany(t, s, n)
	sel := spanOf(t, s, stream.Selection{})
	var once sync.Once
	restarted := make(chan struct{})
	done, err := s.Replay(t.Context(), stream.Replay{Run: "a", Selection: sel, Rate: 4000, Report: func(stream.Replayed) {
		once.Do(func() {
			go func() {
				defer close(restarted)
				o.restart(t)
			}()
		})
	}})
	receive(t, restarted, "the server again")
	if err != nil { // it may end; then it goes on from where it was
		t.Logf("ended at %d: %v", done.Next, err)
		sel.FromSeq = done.Next
		replay(t, s, stream.Replay{Run: "a", Selection: sel})
	}
	got := after(t, s, n)[home]
	slices.Sort(got)
	if got = slices.Compact(got); len(got) != n {
		t.Errorf("%d of %d changes were said again", len(got), n)
	}
}

// Two replays and live traffic: each says all that it was to, and nothing else.
func TestReplaysSideBySide(t *testing.T) {
	s, _ := opened(t)
	const n, live = 1500, 500
	publishMany(t, s, n)
	sel := spanOf(t, s, stream.Selection{})
	var g sync.WaitGroup
	for _, run := range []string{"a", "b"} {
		g.Go(func() {
			done, err := s.Replay(t.Context(), stream.Replay{Run: run, Selection: sel})
			if err != nil || done.Changes != n || done.Known != 0 {
				t.Errorf("run %s: %+v, %v", run, done, err)
			}
		})
	}
	g.Go(func() {
		for i := range live {
			if _, err := s.Publish(t.Context(), change(fmt.Sprint("live", i))); err != nil {
				t.Error(err)
			}
		}
	})
	g.Wait()
	said := map[string]int{}
	for _, m := range readAll(t, s, stream.ReadOptions{FromSeq: n + 1}) {
		for _, tag := range m.Change.Tags {
			said[string(m.Change.Source)+" "+tag.ID]++
		}
	}
	if len(said) != n+live {
		t.Errorf("%d were said, want %d", len(said), n+live)
	}
	for what, times := range said {
		if want := map[bool]int{true: 2, false: 1}[what[0] == 'r']; times != want {
			t.Errorf("%s was said %d times, want %d", what, times, want)
		}
	}
}

func TestReplayRefuses(t *testing.T) {
	s, _ := opened(t)
	for name, r := range map[string]stream.Replay{
		"no run":     {Selection: stream.Selection{ToSeq: 1}},
		"an odd run": {Run: "a b", Selection: stream.Selection{ToSeq: 1}},
		"a rate":     {Run: "a", Rate: -1, Selection: stream.Selection{ToSeq: 1}},
		"no end":     {Run: "a"},
	} {
		if _, err := s.Replay(t.Context(), r); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if a, b := stream.NewRun(), stream.NewRun(); a == b || len(a) != 10 {
		t.Errorf("runs %s, %s", a, b)
	}
}
