package renew_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/renew"
)

func newBook() *renew.Book {
	return renew.NewBook(map[events.Home][]string{home: {"account"}},
		func(h events.Home, serial int64) subscriptions.Secret {
			return subscriptions.NewSecret(fmt.Sprint(h.Tenant, " ", serial))
		}, slog.New(slog.DiscardHandler))
}

// page is a ledger with one active registration.
func page(id string, serial int64, looked time.Time) subscriptions.Ledger {
	return subscriptions.Ledger{Home: home, Looked: looked, Serial: serial, Entries: []subscriptions.Entry{
		{ID: id, Want: "account", Serial: serial, Active: true, Expires: time.Now().Add(time.Hour)}}}
}

func TestTheBookKeepsTheNewest(t *testing.T) {
	now := time.Now()
	foreign := page("9", 9, now)
	foreign.Tenant = "another"
	for name, c := range map[string]struct {
		read func(*renew.Book)
		want string
	}{
		"the first":            {func(*renew.Book) {}, "1"},
		"a later one":          {func(b *renew.Book) { b.Note(page("2", 2, now), 6) }, "2"},
		"an older one":         {func(b *renew.Book) { b.Note(page("2", 2, now.Add(-time.Second)), 4) }, "1"},
		"older, of that look":  {func(b *renew.Book) { b.Note(page("2", 2, now), 4) }, "1"},
		"the store was lost":   {func(b *renew.Book) { b.Note(page("2", 2, now.Add(time.Second)), 1) }, "2"},
		"one of another":       {func(b *renew.Book) { b.Note(foreign, 9) }, "1"},
		"what cannot be read":  {func(b *renew.Book) { b.Read(home, []byte("{"), 9) }, "1"},
		"another's in its key": {func(b *renew.Book) { v, _ := subscriptions.EncodeLedger(foreign); b.Read(home, v, 9) }, "1"},
		"it is removed":        {func(b *renew.Book) { b.Read(home, nil, 9) }, ""},
		"there was none":       {func(b *renew.Book) { b.Read(home, nil, 0) }, "1"},
		"as it is stored":      {func(b *renew.Book) { v, _ := subscriptions.EncodeLedger(page("3", 3, now)); b.Read(home, v, 6) }, "3"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook()
			b.Note(page("1", 1, now), 5)
			c.read(b)
			var got string
			for _, e := range b.Ledger(home).Entries {
				got += e.ID
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if missing := b.Missing(home); (len(missing) == 0) != (c.want != "") {
				t.Errorf("missing %q", missing)
			}
		})
	}
}

func TestTheBookGivesSecrets(t *testing.T) {
	b := newBook()
	if s := b.Secrets(home); s != nil {
		t.Errorf("%d secrets of nothing", len(s))
	}
	l := page("1", 5, time.Now())
	l.Retired = []subscriptions.Retired{{Serial: 3, Until: time.Now().Add(time.Hour)}, {Serial: 2, Until: time.Now()}}
	b.Note(l, 1)
	var got []string
	for _, s := range b.Secrets(home) {
		got = append(got, s.Reveal())
	}
	want := []string{"37439510 3", "37439510 5", "37439510 6", "37439510 7"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTheBookWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		l := page("1", 1, time.Now())
		l.Entries[0].Active, l.Problem = false, "the owner is gone"
		b.Note(l, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := b.Wait(ctx, home); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "the owner is gone") {
			t.Errorf("error %v", err)
		}
		done := make(chan error, 1)
		go func() { done <- b.Wait(t.Context(), home) }()
		synctest.Wait()
		b.Note(page("1", 1, time.Now()), 2)
		if err := <-done; err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Hour) // simulated
		if m := b.Missing(home); len(m) != 1 || m[0] != "account: no active subscription" {
			t.Errorf("it has expired: missing %q", m)
		}
		l = page("1", 1, time.Now())
		l.Entries[0].Disabled = []string{"SUB-412"}
		b.Note(l, 3)
		if m := b.Missing(home); len(m) != 1 || m[0] != "account: not served: SUB-412" {
			t.Errorf("missing %q", m)
		}
		l.Entries = append(l.Entries, page("2", 2, time.Now()).Entries...)
		b.Note(l, 4)
		if m := b.Missing(home); len(m) != 0 {
			t.Errorf("another serves all: missing %q", m)
		}
	})
}
