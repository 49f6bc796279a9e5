package stream_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/natslocal"
	"github.com/rescindhq/rescind/events/stream"
)

func outcome(k events.Kind, change string) events.Outcome {
	return events.Outcome{Kind: k, Home: home, Change: change, Entries: []events.Entry{{Subject: "42"}}}
}

// journaling runs a journal until the test ends or stop is called.
func journaling(t testing.TB, s *stream.Stream) (j *stream.Journal, stop func()) {
	t.Helper()
	j = s.Journal()
	return j, background(t, j.Run)
}

func readOutcomes(t *testing.T, s *stream.Stream, o stream.JournalOptions) (got []stream.Noted) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	err := s.ReadJournal(ctx, o, func(n stream.Noted) error {
		got = append(got, n)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func counted(t testing.TB, j *stream.Journal, published string, dropped int) error {
	t.Helper()
	return testutil.CollectAndCompare(j, strings.NewReader(fmt.Sprintf(`
# HELP rescind_journal_dropped_total Outcomes that were not written: too many, or NATS is away.
# TYPE rescind_journal_dropped_total counter
rescind_journal_dropped_total %d
# HELP rescind_journal_published_total Outcomes that the journal has, by kind.
# TYPE rescind_journal_published_total counter
%s`, dropped, published)))
}

func TestJournalIsWrittenAndRead(t *testing.T) {
	s, nc := opened(t)
	j, stop := journaling(t, s)
	other := outcome(events.Dead, "other")
	other.Home = events.Home{Provider: "box", Tenant: "a.b *"}
	before := time.Now()
	for _, o := range []events.Outcome{outcome(events.Invalidated, "1"), outcome(events.Refetched, "1"), other} {
		j.Note(o)
	}
	stop() // what was noted is written
	if err := s.Record(t.Context(), outcome(events.Discarded, "1")); err != nil {
		t.Fatal(err)
	}
	if _, err := jetStream(t, nc).Publish(t.Context(), "perm.journal.odd", []byte("?")); err != nil {
		t.Fatal(err)
	}
	all := readOutcomes(t, s, stream.JournalOptions{})
	if len(all) != 5 || all[4].DecodeErr == nil {
		t.Fatalf("read %d: %+v", len(all), all)
	}
	seen := map[string]bool{}
	for _, n := range all[:4] {
		if n.DecodeErr != nil || n.Outcome.ID == "" || seen[n.Outcome.ID] || n.Outcome.At.Before(before.Add(-time.Second)) {
			t.Errorf("%+v", n)
		}
		seen[n.Outcome.ID] = true
	}
	for name, c := range map[string]struct {
		o    stream.JournalOptions
		want int
	}{
		"a kind":               {stream.JournalOptions{Kind: events.Refetched}, 1},
		"a provider":           {stream.JournalOptions{Home: events.Home{Provider: "box"}}, 1},
		"a tenant":             {stream.JournalOptions{Home: events.Home{Tenant: home.Tenant}}, 3},
		"a kind of one tenant": {stream.JournalOptions{Home: other.Home, Kind: events.Invalidated}, 0},
		"what is wanted": {stream.JournalOptions{Wanted: func(n stream.Noted) bool {
			return n.Outcome.Change == "1"
		}, Limit: 2}, 2},
		"from a time to come": {stream.JournalOptions{Since: time.Now().Add(time.Hour)}, 0},
	} {
		if got := readOutcomes(t, s, c.o); len(got) != c.want {
			t.Errorf("%s: read %d, want %d", name, len(got), c.want)
		}
	}
	if err := counted(t, j, `rescind_journal_published_total{kind="dead"} 1
rescind_journal_published_total{kind="invalidated"} 1
rescind_journal_published_total{kind="refetched"} 1
`, 0); err != nil {
		t.Error(err)
	}
	if info, err := s.Info(t.Context()); err != nil || info.Outcomes != 5 || info.OutcomesFrom.IsZero() {
		t.Errorf("info: %+v, %v", info, err)
	}
}

// On a backlog nearly every change hits nothing alive: a second's are one outcome.
func TestJournalTellsOfTheColdTogether(t *testing.T) {
	s, _ := opened(t)
	j, stop := journaling(t, s)
	const changes = 3000
	for i := range changes {
		j.Note(events.Outcome{Kind: events.Invalidated, Home: home, Version: uint64(i), Sequences: []uint64{uint64(i + 1)}})
	}
	odd := outcome(events.Invalidated, "")
	odd.Sequences, odd.Reason = []uint64{4711}, "the whole tenant was dropped"
	j.Note(odd)
	stop()
	told, all := map[uint64]bool{}, readOutcomes(t, s, stream.JournalOptions{})
	for _, n := range all {
		for _, seq := range n.Outcome.Sequences {
			told[seq] = true
		}
		if len(n.Outcome.Sequences) > events.MaxSequences {
			t.Errorf("%d in one", len(n.Outcome.Sequences))
		}
	}
	if len(told) != changes+1 || len(all) < 4 || len(all) > 10 {
		t.Errorf("%d changes told of in %d outcomes", len(told), len(all))
	}
}

// An outcome in another's place is not believed.
func TestOutcomeUnderAnothersSubjectIsUnreadable(t *testing.T) {
	s, nc := opened(t)
	o := outcome(events.Gap, "")
	o.ID, o.At = "1", time.Now()
	b, err := events.EncodeOutcome(o)
	if err != nil {
		t.Fatal(err)
	}
	subject := events.JournalSubject(events.Home{Provider: "box", Tenant: "1"}, events.Gap)
	if _, err := jetStream(t, nc).Publish(t.Context(), subject, b); err != nil {
		t.Fatal(err)
	}
	if got := readOutcomes(t, s, stream.JournalOptions{}); len(got) != 1 || got[0].DecodeErr == nil {
		t.Errorf("read %+v", got)
	}
}

// Nobody waits for the journal: what it does not take is counted.
func TestJournalDropsRatherThanWaits(t *testing.T) {
	o, nc := withOutage(t)
	s := openOn(t, nc)
	j := s.Journal()
	const many = 10_000 // more than it holds
	for range many {
		j.Note(outcome(events.Fenced, "1"))
	}
	held := 8192
	if err := counted(t, j, "", many-held); err != nil {
		t.Fatal(err)
	}
	stop := background(t, j.Run)
	eventually(t, "what it held is written", func() bool {
		return counted(t, j, fmt.Sprintf("rescind_journal_published_total{kind=\"fenced\"} %d\n", held), many-held) == nil
	})
	stopServer(t, o.srv)
	eventually(t, "the connection is gone", func() bool { return !nc.IsConnected() })
	j.Note(outcome(events.Fenced, "2"))
	eventually(t, "what nobody takes is dropped", func() bool {
		return counted(t, j, fmt.Sprintf("rescind_journal_published_total{kind=\"fenced\"} %d\n", held), many-held+1) == nil
	})
	o.srv = startServer(t, o.opts)
	eventually(t, "the connection is back", nc.IsConnected)
	eventually(t, "it is written again, though the server has lost it", func() bool {
		j.Note(outcome(events.Late, "3"))
		found := false
		err := s.ReadJournal(t.Context(), stream.JournalOptions{Kind: events.Late}, func(stream.Noted) error {
			found = true
			return nil
		})
		return err == nil && found
	})
	stop()
}

func TestJournalIsBoundedAndNotOnDisk(t *testing.T) {
	_, nc := opened(t)
	st, err := jetStream(t, nc).Stream(t.Context(), stream.Outcomes)
	if err != nil {
		t.Fatal(err)
	}
	c := st.CachedInfo().Config
	if c.MaxAge != 24*time.Hour || c.MaxBytes != 128<<20 || c.Discard != jetstream.DiscardOld ||
		c.Storage != jetstream.MemoryStorage || !c.AllowDirect {
		t.Errorf("%+v", c)
	}
}

// Changes do not wait for a journal that an operator made wrong, or that cannot be.
func TestOpenWarnsOfTheJournal(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  jetstream.StreamConfig
		want string
	}{
		"no limit": {jetstream.StreamConfig{Name: stream.Outcomes, Subjects: []string{events.AllOutcomes}}, "grows for good"},
		"other subjects": {jetstream.StreamConfig{Name: stream.Outcomes, MaxAge: time.Hour,
			Subjects: []string{"perm.journal.box.>"}}, "do not cover ours"},
		"discard new": {jetstream.StreamConfig{Name: stream.Outcomes, MaxAge: time.Hour, Discard: jetstream.DiscardNew,
			Subjects: []string{events.AllOutcomes}}, "nothing new is kept"},
		"taken subjects": {jetstream.StreamConfig{Name: "OTHER", MaxAge: time.Hour,
			Subjects: []string{events.AllOutcomes}}, "the server refuses it"},
	} {
		t.Run(name, func(t *testing.T) {
			nc := connect(t, startServer(t, natslocal.Options{}))
			if _, err := jetStream(t, nc).CreateStream(t.Context(), c.cfg); err != nil {
				t.Fatal(err)
			}
			got := strings.Join(openOn(t, nc).Warnings(), "\n")
			if !strings.Contains(got, "stream "+stream.Outcomes+": ") || !strings.Contains(got, c.want) {
				t.Errorf("warnings %q, want %q", got, c.want)
			}
		})
	}
}

func TestReadJournalSaysThatThereIsNone(t *testing.T) {
	nc := connect(t, startServer(t, natslocal.Options{}))
	s, err := stream.Attach(nc)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, s.ReadJournal(t.Context(), stream.JournalOptions{}, nil), stream.ErrNoJournal)
}

func TestReadSelectsByProviderTimeAndWish(t *testing.T) {
	s, _ := opened(t)
	publishMany(t, s, 100)
	other := change("other")
	other.Home, other.Source = events.Home{Provider: "box", Tenant: home.Tenant}, events.Tail
	publish(t, s, other)
	all := readAll(t, s, stream.ReadOptions{})
	for name, c := range map[string]struct {
		o    stream.ReadOptions
		want int
	}{
		"a provider":      {stream.ReadOptions{Home: events.Home{Provider: "box"}}, 1},
		"a tenant of two": {stream.ReadOptions{Home: events.Home{Tenant: home.Tenant}}, 101},
		"up to a time":    {stream.ReadOptions{Until: all[9].Time}, 10},
		"what is wanted": {stream.ReadOptions{Wanted: func(m stream.Stored) bool {
			return m.Change.Source == events.Tail
		}}, 1},
		"a limit of what is wanted": {stream.ReadOptions{Wanted: func(m stream.Stored) bool {
			return m.Sequence%2 == 0
		}, Limit: 7}, 7},
	} {
		if got := readAll(t, s, c.o); len(got) != c.want {
			t.Errorf("%s: read %d, want %d", name, len(got), c.want)
		}
	}
}

func TestReadLastIsTheEndOfRead(t *testing.T) {
	s, _ := opened(t)
	publishMany(t, s, 9000)
	even := func(m stream.Stored) bool { return m.Sequence%2 == 0 }
	rare := func(m stream.Stored) bool { return m.Sequence == 3 || m.Sequence == 8999 }
	for name, c := range map[string]struct {
		o           stream.ReadOptions
		n, want     int
		first, last uint64
	}{
		"the last":                {stream.ReadOptions{}, 10, 10, 8991, 9000},
		"more than one window":    {stream.ReadOptions{}, 5000, 5000, 4001, 9000},
		"more than there are":     {stream.ReadOptions{}, 20_000, 9000, 1, 9000},
		"what is wanted":          {stream.ReadOptions{Wanted: even}, 3000, 3000, 3002, 9000},
		"what is rare":            {stream.ReadOptions{Wanted: rare}, 10, 2, 3, 8999},
		"up to a sequence":        {stream.ReadOptions{ToSeq: 100}, 10, 10, 91, 100},
		"from a sequence":         {stream.ReadOptions{FromSeq: 8995}, 10, 6, 8995, 9000},
		"another tenant":          {stream.ReadOptions{Home: events.Home{Provider: "x"}}, 10, 0, 0, 0},
		"since a time to come":    {stream.ReadOptions{Since: time.Now().Add(time.Hour)}, 10, 0, 0, 0},
		"beyond the end":          {stream.ReadOptions{FromSeq: 9001}, 10, 0, 0, 0},
		"until before everything": {stream.ReadOptions{Until: time.Now().Add(-time.Hour)}, 10, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.ReadLast(t.Context(), c.o, c.n)
			if err != nil {
				t.Fatal(err)
			}
			checkRead(t, got, c.want, c.first, c.last)
		})
	}
	if _, ok, err := s.Get(t.Context(), 9001); ok || err != nil {
		t.Errorf("what is not there: %v, %v", ok, err)
	}
	if m, ok, err := s.Get(t.Context(), 7); !ok || err != nil || m.Sequence != 7 || m.Change.ID == "" || m.Size == 0 {
		t.Errorf("the seventh: %+v, %v, %v", m, ok, err)
	}
}

// TestReadMany lists RESCIND_STORED changes and says how fast, and in how much memory.
func TestReadMany(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("RESCIND_STORED"))
	if err != nil {
		n = 20_000
	}
	s, _ := opened(t)
	publishMany(t, s, n)
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak, read, began := uint64(0), 0, time.Now()
	err = s.Read(t.Context(), stream.ReadOptions{}, func(stream.Stored) error {
		if read++; read%(n/20) == 0 {
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapInuse)
		}
		return nil
	})
	took := time.Since(began)
	if err != nil || read != n {
		t.Fatalf("read %d of %d, %v", read, n, err)
	}
	t.Logf("%d changes in %s: %.0f a second; heap in use %d MiB before, %d MiB at most, the server's included",
		n, took, float64(n)/took.Seconds(), before.HeapInuse>>20, peak>>20)
	if grown := int64(peak) - int64(before.HeapInuse); grown > 200<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

// BenchmarkNote is what a note costs who makes it.
func BenchmarkNote(b *testing.B) {
	s, _ := opened(b)
	j, _ := journaling(b, s)
	o := outcome(events.Invalidated, "1")
	for b.Loop() {
		j.Note(o)
	}
}
