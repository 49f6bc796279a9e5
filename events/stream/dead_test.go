package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

var errRefused = errors.New("NOPERM this user has no permissions\x1b[2J")

// buryChanges publishes changes and buries them, as a worker does that cannot apply
// them.
func buryChanges(t *testing.T, s *stream.Stream, changes ...events.Change) {
	t.Helper()
	for _, c := range changes {
		publish(t, s, c)
	}
	bury(t, s, len(changes))
}

// bury buries as many as wait.
func bury(t *testing.T, s *stream.Stream, waiting int) {
	t.Helper()
	buried := make(chan error, waiting)
	stop := consume(t, s, stream.ConsumeOptions{}, func(ctx context.Context, ms []stream.Message) {
		for _, m := range ms {
			buried <- m.Dead(ctx, errRefused)
		}
	})
	for range waiting {
		if err := receive(t, buried, "burial"); err != nil {
			t.Fatal(err)
		}
	}
	stop()
}

func dead(t *testing.T, s *stream.Stream, o stream.BuriedOptions) (all []stream.Buried) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	err := s.ReadDead(ctx, o, func(b stream.Buried) error {
		all = append(all, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func redrive(t *testing.T, s *stream.Stream, b stream.Buried) stream.Remedy {
	t.Helper()
	r, unnoted, err := s.Redrive(t.Context(), b, "ops@test")
	if err != nil || unnoted != nil {
		t.Fatalf("redrive: %v, not in the journal: %v", err, unnoted)
	}
	return r
}

func journal(t *testing.T, s *stream.Stream) (all []events.Outcome) {
	t.Helper()
	err := s.ReadJournal(t.Context(), stream.JournalOptions{}, func(n stream.Noted) error {
		all = append(all, n.Outcome)
		return n.DecodeErr
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestDeadTellsWhatItIsAndWhy(t *testing.T) {
	s, _ := opened(t)
	c := change("7")
	before := time.Now()
	buryChanges(t, s, c)
	all := dead(t, s, stream.BuriedOptions{})
	if len(all) != 1 {
		t.Fatalf("%d are dead, want 1", len(all))
	}
	b := all[0]
	if diff := cmp.Diff(c, b.Change); diff != "" || b.What != stream.DeadChange || b.DecodeErr != nil {
		t.Errorf("it is a %s (%v), and the change differs:\n%s", b.What, b.DecodeErr, diff)
	}
	if b.Sequence != 1 || b.FromSequence != 1 || b.From != stream.Changes || b.Attempts != 1 || b.Home != home {
		t.Errorf("got %+v", b)
	}
	if b.Reason != "NOPERM this user has no permissions[2J" {
		t.Errorf("reason %q", b.Reason)
	}
	if b.First.Before(before.Add(-time.Second)) || b.Last.Before(b.First) {
		t.Errorf("first %s, last %s", b.First, b.Last)
	}
	one, err := s.Dead(t.Context(), 1)
	if err != nil || one.Change.ID != c.ID || !one.Last.Equal(b.Last) {
		t.Errorf("by its sequence: %+v, %v", one, err)
	}
	_, err = s.Dead(t.Context(), 2)
	wantError(t, err, stream.ErrNotDead)
}

func TestDeadIsSelected(t *testing.T) {
	s, _ := opened(t)
	other := change("2")
	other.Home = events.Home{Provider: "box", Tenant: "987"}
	other.ID = events.ChangeID(other.Home, "2")
	buryChanges(t, s, change("1"), other, change("3"))
	if err := s.BuryTask(t.Context(), task("4"), errors.New("the provider is away")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    stream.BuriedOptions
		want []uint64
	}{
		"all":         {stream.BuriedOptions{}, []uint64{1, 2, 3, 4}},
		"a tenant":    {stream.BuriedOptions{Home: other.Home}, []uint64{2}},
		"a provider":  {stream.BuriedOptions{Home: events.Home{Provider: home.Provider}}, []uint64{1, 3, 4}},
		"a reason":    {stream.BuriedOptions{Reason: "noperm"}, []uint64{1, 2, 3}},
		"another one": {stream.BuriedOptions{Reason: "AWAY"}, []uint64{4}},
		"a few":       {stream.BuriedOptions{Limit: 2}, []uint64{1, 2}},
		"to come":     {stream.BuriedOptions{Since: time.Now().Add(time.Hour)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []uint64
			for _, b := range dead(t, s, c.o) {
				got = append(got, b.Sequence)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A dead change is published under an ID of its own, and leaves DEAD after that.
func TestRedriveOfAChange(t *testing.T) {
	s, _ := opened(t)
	c := change("7")
	c.Reasons = []string{"Permissions"}
	buryChanges(t, s, c)
	b := dead(t, s, stream.BuriedOptions{})[0]
	if r := redrive(t, s, b); r != stream.Republished {
		t.Errorf("remedy %q", r)
	}
	again := readAll(t, s, stream.ReadOptions{FromSeq: 2})
	if len(again) != 1 {
		t.Fatalf("%d changes were published, want 1", len(again))
	}
	got := again[0].Change
	if first, ok := events.ReplayOf(got); !ok || first != 1 || got.ID == c.ID {
		t.Errorf("its ID is %s", got.ID)
	}
	if got.Source != events.Replay || !cmp.Equal(got.Tags, c.Tags) || got.Home != c.Home {
		t.Errorf("got %+v", got)
	}
	if want := []string{"Permissions", "redriven: " + c.ID + " of webhook"}; !cmp.Equal(got.Reasons, want) {
		t.Errorf("reasons %q, want %q", got.Reasons, want)
	}
	if left := dead(t, s, stream.BuriedOptions{}); len(left) > 0 {
		t.Errorf("still dead: %+v", left)
	}
	note := journal(t, s)
	if len(note) != 1 || note[0].Kind != events.Redriven || note[0].By != "ops@test" || note[0].Change != c.ID ||
		note[0].Sequence != 1 || note[0].Reason != "republished as change 2" {
		t.Errorf("journal: %+v", note)
	}
}

// Two who redrive the same publish it once; what dies again is published again.
func TestRedriveTwice(t *testing.T) {
	s, _ := opened(t)
	buryChanges(t, s, change("7"))
	b := dead(t, s, stream.BuriedOptions{})[0]
	redrive(t, s, b)
	redrive(t, s, b)
	if n := len(readAll(t, s, stream.ReadOptions{})); n != 2 {
		t.Errorf("%d changes, want the first and one more", n)
	}
	again := make(chan error, 1)
	stop := consume(t, s, stream.ConsumeOptions{}, func(ctx context.Context, ms []stream.Message) {
		for _, m := range ms {
			again <- m.Dead(ctx, errRefused)
		}
	})
	if err := receive(t, again, "second burial"); err != nil {
		t.Fatal(err)
	}
	stop()
	redrive(t, s, dead(t, s, stream.BuriedOptions{})[0])
	if n := len(readAll(t, s, stream.ReadOptions{})); n != 3 {
		t.Errorf("%d changes, want one more for the second death", n)
	}
}

func TestRedriveOfARefresh(t *testing.T) {
	s, _ := opened(t)
	due := task("1")
	due.Attempt = 5
	void := task("2")
	void.Until = time.Now().Add(-time.Minute)
	for _, one := range []stream.Task{due, void} {
		if err := s.BuryTask(t.Context(), one, errors.New("503")); err != nil {
			t.Fatal(err)
		}
	}
	all := dead(t, s, stream.BuriedOptions{})
	if all[0].What != stream.DeadRefresh || all[0].Attempts != 5 || all[0].Entry() != due.Ref.String() {
		t.Errorf("got %+v", all[0])
	}
	var got []stream.Remedy
	for _, b := range all {
		p, err := stream.Prospect(b)
		if r := redrive(t, s, b); r != p || err != nil {
			t.Errorf("%q, but %q was to be done: %v", r, p, err)
		}
		got = append(got, p)
	}
	if want := []stream.Remedy{stream.Requeued, stream.Expired}; !cmp.Equal(got, want) {
		t.Errorf("remedies %q, want %q", got, want)
	}
	taken := make(chan stream.Task, 1)
	stop := background(t, func(ctx context.Context) error {
		return s.ConsumeRefreshes(ctx, 1, func(_ context.Context, t stream.Task) { taken <- t })
	})
	defer stop()
	if one := receive(t, taken, "the refresh"); one.Ref != due.Ref || one.Attempt != 0 {
		t.Errorf("got %+v", one)
	}
	if left := dead(t, s, stream.BuriedOptions{}); len(left) > 0 {
		t.Errorf("still dead: %+v", left)
	}
}

// What nobody can read cannot be done again, and is not lost by the attempt.
func TestRedriveKeepsWhatItCannotRead(t *testing.T) {
	s, nc := opened(t)
	if _, err := jetStream(t, nc).Publish(t.Context(), events.ChangeSubject(home), []byte("?\x00")); err != nil {
		t.Fatal(err)
	}
	publish(t, s, change("1"))
	bury(t, s, 2)
	b := dead(t, s, stream.BuriedOptions{})[0]
	if b.What != stream.DeadUnreadable || b.DecodeErr == nil || b.Home != home || string(b.Data) != "?\x00" {
		t.Errorf("got %+v", b)
	}
	_, _, err := s.Redrive(t.Context(), b, "ops@test")
	wantError(t, err, stream.ErrUnreadable)
	_, err = stream.Prospect(b)
	wantError(t, err, stream.ErrUnreadable)
	if left := dead(t, s, stream.BuriedOptions{}); len(left) != 2 {
		t.Errorf("%d are dead, want both", len(left))
	}
	if err := s.Discard(t.Context(), b, "ops@test", "sent by hand"); err != nil {
		t.Fatal(err)
	}
	kv, err := jetStream(t, nc).KeyValue(t.Context(), stream.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := kv.ListKeysFiltered(t.Context(), "discarded.1.*")
	if err != nil {
		t.Fatal(err)
	}
	if key, ok := <-kept.Keys(); !ok {
		t.Error("who has discarded it is not on disk")
	} else if e, err := kv.Get(t.Context(), key); err != nil || !strings.Contains(string(e.Value()), "sent by hand") {
		t.Errorf("what is kept of it: %v", err)
	}
	note := journal(t, s)
	if len(note) != 1 || note[0].Kind != events.Discarded || note[0].By != "ops@test" || note[0].Sequence != 1 ||
		!strings.HasPrefix(note[0].Reason, "sent by hand; it was dead of: NOPERM") {
		t.Errorf("journal: %+v", note)
	}
	if left := dead(t, s, stream.BuriedOptions{}); len(left) != 1 || left[0].Sequence != 2 {
		t.Errorf("left: %+v", left)
	}
}

// What cannot be recorded is not deleted.
func TestDiscardNeedsTheJournal(t *testing.T) {
	s, nc := opened(t)
	buryChanges(t, s, change("1"))
	if err := jetStream(t, nc).DeleteStream(t.Context(), stream.Outcomes); err != nil {
		t.Fatal(err)
	}
	b := dead(t, s, stream.BuriedOptions{})[0]
	if err := s.Discard(t.Context(), b, "ops@test", "no reason"); err == nil {
		t.Error("discarded without a record")
	}
	if left := dead(t, s, stream.BuriedOptions{}); len(left) != 1 {
		t.Errorf("%d are dead, want 1", len(left))
	}
	r, unnoted, err := s.Redrive(t.Context(), b, "ops@test")
	if r != stream.Republished || unnoted == nil || err != nil {
		t.Errorf("redrive without a journal: %q, %v, %v", r, unnoted, err)
	}
}

// A body for which DEAD had no room is where it came from.
func TestDeadFindsAnOmittedBody(t *testing.T) {
	s, nc := opened(t)
	c := change("1")
	for i := range (nc.MaxPayload() - 5<<10) / 261 { // bytes that such a tag takes
		c.Tags = append(c.Tags, events.SubjectTag(events.Subject(fmt.Sprintf("%0250d", i))))
	}
	buryChanges(t, s, c)
	raw, err := jetStream(t, nc).Stream(t.Context(), stream.Graveyard)
	if err != nil {
		t.Fatal(err)
	}
	lies, err := raw.GetMsg(t.Context(), 1)
	if err != nil || len(lies.Data) > 0 {
		t.Fatalf("%d bytes in DEAD, %v: this test needs an omitted body", len(lies.Data), err)
	}
	b, err := s.Dead(t.Context(), 1)
	if err != nil || b.What != stream.DeadChange || len(b.Change.Tags) != len(c.Tags) {
		t.Fatalf("%s, %d tags, %v", b.What, len(b.Change.Tags), err)
	}
	if n := len(dead(t, s, stream.BuriedOptions{})[0].Tags()); n != len(c.Tags) {
		t.Errorf("the list has %d tags of it, want %d", n, len(c.Tags))
	}
	redrive(t, s, b)
	if got := after(t, s, 1)[home]; len(got) != len(c.Tags) {
		t.Errorf("%d tags were published again, want %d", len(got), len(c.Tags))
	}
}

// Messages that an older worker has buried do not tell when they were published.
func TestDeadOfAnOlderWorker(t *testing.T) {
	s, nc := opened(t)
	c := change("1")
	data, err := events.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	_, err = jetStream(t, nc).PublishMsg(t.Context(), &nats.Msg{Subject: events.DeadSubject(home), Data: data,
		Header: nats.Header{stream.HeaderStream: {stream.Changes}, stream.HeaderSubject: {events.ChangeSubject(home)}}})
	if err != nil {
		t.Fatal(err)
	}
	b := dead(t, s, stream.BuriedOptions{})[0]
	if b.What != stream.DeadChange || !b.First.Equal(c.Received) || b.Attempts != 0 {
		t.Errorf("got %+v", b)
	}
}
