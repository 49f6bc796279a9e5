package stream_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

func readAll(t *testing.T, s *stream.Stream, o stream.ReadOptions) (got []stream.Stored) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	err := s.Read(ctx, o, func(m stream.Stored) error {
		got = append(got, m)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestReadSelects(t *testing.T) {
	s, nc := opened(t)
	if got := readAll(t, s, stream.ReadOptions{}); len(got) != 0 {
		t.Fatalf("%d messages in an empty stream", len(got))
	}
	const n = 3000
	publishMany(t, s, n)
	other := change("other")
	other.Home = events.Home{Provider: "box", Tenant: "a.b *"}
	publish(t, s, other)
	if _, err := jetStream(t, nc).Publish(t.Context(), "perm.change.odd", []byte("?")); err != nil {
		t.Fatal(err)
	}
	all := readAll(t, s, stream.ReadOptions{})
	if len(all) != n+2 {
		t.Fatalf("read %d, want %d", len(all), n+2)
	}
	middle := all[n/2].Time
	after := 0
	for _, m := range all {
		if !m.Time.Before(middle) {
			after++
		}
	}
	for name, c := range map[string]struct {
		o           stream.ReadOptions
		want        int
		first, last uint64
	}{
		"from a sequence":           {stream.ReadOptions{FromSeq: 2990}, n + 2 - 2989, 2990, n + 2},
		"to a sequence":             {stream.ReadOptions{ToSeq: 10}, 10, 1, 10},
		"between two":               {stream.ReadOptions{FromSeq: 5, ToSeq: 6}, 2, 5, 6},
		"beyond the end":            {stream.ReadOptions{FromSeq: n + 3}, 0, 0, 0},
		"from a time":               {stream.ReadOptions{Since: middle}, after, 0, n + 2},
		"from a time to come":       {stream.ReadOptions{Since: time.Now().Add(time.Hour)}, 0, 0, 0},
		"a limit":                   {stream.ReadOptions{Limit: 7}, 7, 1, 7},
		"one tenant":                {stream.ReadOptions{Home: other.Home}, 1, n + 1, n + 1},
		"a tenant of none":          {stream.ReadOptions{Home: events.Home{Provider: "x", Tenant: "y"}}, 0, 0, 0},
		"a tenant up to before it":  {stream.ReadOptions{Home: other.Home, ToSeq: n}, 0, 0, 0},
		"a sequence and time both":  {stream.ReadOptions{FromSeq: 1, Since: middle}, after, 0, n + 2},
		"a limit of another tenant": {stream.ReadOptions{Home: home, Limit: 3}, 3, 1, 3},
	} {
		t.Run(name, func(t *testing.T) {
			checkRead(t, readAll(t, s, c.o), c.want, c.first, c.last)
		})
	}
	if odd := all[n+1]; odd.DecodeErr == nil || odd.Subject != "perm.change.odd" || odd.Size != 1 {
		t.Errorf("the odd one = %+v", odd)
	}
}

// checkRead wants so many messages; first and last are not looked at if zero.
func checkRead(t *testing.T, got []stream.Stored, want int, first, last uint64) {
	t.Helper()
	if len(got) != want {
		t.Fatalf("read %d, want %d", len(got), want)
	}
	if first > 0 && got[0].Sequence != first {
		t.Errorf("first = %d, want %d", got[0].Sequence, first)
	}
	if last > 0 && got[want-1].Sequence != last {
		t.Errorf("last = %d, want %d", got[want-1].Sequence, last)
	}
}

func TestReadStopsAtItsEndWhileMoreComes(t *testing.T) {
	s, _ := opened(t)
	publishMany(t, s, 500)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := s.Publish(context.WithoutCancel(ctx), change(fmt.Sprint("more", i))); err != nil {
				t.Error(err)
			}
		}
	}()
	got := readAll(t, s, stream.ReadOptions{})
	cancel()
	receive(t, done, "publisher")
	info, err := s.Info(t.Context())
	if err != nil || uint64(len(got)) > info.Messages || len(got) < 500 {
		t.Errorf("read %d of %d, %v", len(got), info.Messages, err)
	}
}

func TestReadFollows(t *testing.T) {
	s, _ := opened(t)
	publish(t, s, change("1"))
	got := make(chan string, 10)
	stop := background(t, func(ctx context.Context) error {
		return s.Read(ctx, stream.ReadOptions{Follow: true}, func(m stream.Stored) error {
			got <- m.Change.ID
			return nil
		})
	})
	receive(t, got, "what was there")
	next := change("2")
	publish(t, s, next)
	if id := receive(t, got, "what came"); id != next.ID {
		t.Errorf("read %s", id)
	}
	stop()
}

func TestReadEndsWithItsReadersError(t *testing.T) {
	s, _ := opened(t)
	publishMany(t, s, 3)
	enough := errors.New("enough")
	n := 0
	err := s.Read(t.Context(), stream.ReadOptions{}, func(stream.Stored) error {
		n++
		return enough
	})
	wantError(t, err, enough)
	if n != 1 {
		t.Errorf("called %d times", n)
	}
}

func TestReadNoticesThatTheRestWasDeleted(t *testing.T) {
	s, nc := opened(t)
	publishMany(t, s, 1200) // more than the client asks for at once
	st, err := jetStream(t, nc).Stream(t.Context(), stream.Changes)
	if err != nil {
		t.Fatal(err)
	}
	purged := false
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	err = s.Read(ctx, stream.ReadOptions{}, func(stream.Stored) error {
		if purged {
			return nil
		}
		purged = true
		return st.Purge(ctx)
	})
	if err != nil {
		t.Error(err)
	}
}

func TestInfo(t *testing.T) {
	s, _ := opened(t)
	info, err := s.Info(t.Context())
	if err != nil || info.Messages != 0 || info.Pending != 0 {
		t.Fatalf("empty: %+v, %v", info, err)
	}
	publishMany(t, s, 5)
	enqueue(t, s, task("1"))
	info, err = s.Info(t.Context())
	if err != nil || info.Messages != 5 || info.Pending != 5 || info.Queued != 1 || info.LastSeq != 5 {
		t.Errorf("five without a consumer: %+v, %v", info, err)
	}
	if info.FirstSeq != 1 || info.Bytes == 0 || info.LastTime.Before(info.FirstTime) {
		t.Errorf("ends: %+v", info)
	}
}
