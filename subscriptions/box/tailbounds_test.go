package box_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/tail"
)

// slow answers each call for events after 4 s with a page of one, and more to come.
func (w *world) slow() (pages *atomic.Int64) {
	pages = new(atomic.Int64)
	w.vendor.on("GET /events", func(rw http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(4 * time.Second):
		case <-r.Context().Done():
			reply(rw, 500, `{}`)
			return
		}
		n := pages.Add(1)
		reply(rw, 200, page(fmt.Sprintf("%q", fmt.Sprint(start, n)),
			event(fmt.Sprint("e", n), "EDIT_USER", fmt.Sprintf(`{"type":"user","id":"%d"}`, n), "")))
	})
	return pages
}

// TestABacklogLeavesTimeToStoreIt: what was read in about 20 s is returned, with a
// cursor behind it.
func TestABacklogLeavesTimeToStoreIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, testConfig())
		cursor := w.begun(t)
		w.slow()
		began := time.Now()
		got, next := w.poll(t, cursor)
		if took := time.Since(began); took > 25*time.Second || len(got) < 4 {
			t.Errorf("%d changes in %s", len(got), took)
		}
		if want := fmt.Sprintf("%q", fmt.Sprint(start, len(got))); !strings.Contains(string(next), want) {
			t.Errorf("the cursor is %s, want %s", next, want)
		}
	})
}

// TestAPollThatIsEndedIsAnError: what was read could not be stored any more.
func TestAPollThatIsEndedIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, testConfig())
		cursor := w.begun(t)
		w.slow()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if got, next, err := w.Poll(ctx, cursor); err == nil {
			t.Errorf("%d changes, cursor %s", len(got), next)
		}
	})
}

// lease is one in memory that nobody else wants.
type lease struct {
	cursor []byte
	saves  int
}

func (l *lease) Life() time.Duration           { return 15 * time.Second }
func (l *lease) Acquire(context.Context) error { return nil }
func (l *lease) Renew(context.Context) error   { return nil }
func (l *lease) Release(context.Context) error { return nil }

func (l *lease) Load(context.Context) ([]byte, uint64, error) { return l.cursor, 1, nil }

func (l *lease) Save(ctx context.Context, c []byte) error {
	if ctx.Err() == nil {
		l.cursor, l.saves = c, l.saves+1
	}
	return ctx.Err()
}

// TestABacklogIsTold with the loop that polls, for 20 minutes.
func TestABacklogIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, testConfig())
		held := &lease{cursor: w.begun(t)}
		pages, published := w.slow(), map[string]bool{}
		l, err := tail.New(tail.Config{Home: home, Tail: w, Lease: held, Interval: 12 * time.Second,
			Log: slog.New(slog.DiscardHandler), Publish: func(ctx context.Context, c events.Change) error {
				if ctx.Err() == nil {
					published[spell(c.Tags)] = true
				}
				return ctx.Err()
			}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		if err := l.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if n := len(published); n < 100 || held.saves < 20 {
			t.Errorf("%d pages were read, %d users published, the cursor saved %d times", pages.Load(), n, held.saves)
		}
	})
}

// TestAnEventThatCannotBeReadDropsTheTenant, and the next are read.
func TestAnEventThatCannotBeReadDropsTheTenant(t *testing.T) {
	for name, odd := range map[string]string{
		"created_at is a number": `{"event_id":"e2","event_type":"EDIT_USER","created_at":1740413418,
			"source":{"type":"user","id":"2"}}`,
		"event_id is negative": `{"event_id":-5,"event_type":"EDIT_USER","source":{"type":"user","id":"2"}}`,
		"event_type is a list": `{"event_id":"e2","event_type":["EDIT_USER"]}`,
		"null":                 `null`, "a text": `"EDIT_USER"`, "a list": `[]`,
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, testConfig())
			cursor := w.begun(t)
			w.at(map[string]string{
				stream + start: page(`"77"`, odd),
				stream + "77":  page(`"78"`, event("e3", "EDIT_USER", `{"type":"user","id":"3"}`, ""), odd),
			})
			got, next := w.poll(t, cursor)
			// The second time it is a duplicate of the first.
			if len(got) != 2 || !strings.HasSuffix(got[0], " tenant") || got[1] != "e3 subject:3" ||
				!strings.Contains(string(next), `"78"`) {
				t.Errorf("%q, cursor %s", got, next)
			}
		})
	}
}

// TestEventsOfAPageAreOneChange, of the tags of all, or the tenant.
func TestEventsOfAPageAreOneChange(t *testing.T) {
	w := open(t, testConfig())
	cursor := w.begun(t)
	user := func(n int) string {
		return event(fmt.Sprint("e", n), "EDIT_USER", fmt.Sprintf(`{"type":"user","id":"%d"}`, n%3), "")
	}
	all := event("e9", "OF_TOMORROW", `null`, "")
	w.at(map[string]string{
		stream + start: page(`"77"`, user(1), user(2), user(4), event("e0", "LOGIN", `null`, "")),
		stream + "77":  page(`"78"`, user(5), user(1), all, user(6)),
	})
	got, _, err := w.Poll(t.Context(), cursor)
	if err != nil || len(got) != 2 || spell(got[0].Tags) != "subject:1 subject:2" ||
		spell(got[1].Tags) != "tenant" {
		t.Fatalf("%+v, %v", got, err)
	}
	if got[0].ID == got[1].ID || len(got[0].Reasons) != 1 || len(got[1].Reasons) != 2 ||
		got[0].Occurred.IsZero() {
		t.Errorf("%+v", got)
	}
}

// TestEventsWithoutAPlaceToGoOnFromAreAnError: they would be read for ever. Those
// before them are told.
func TestEventsWithoutAPlaceToGoOnFromAreAnError(t *testing.T) {
	for _, stuck := range []string{"0", "null", `"77"`} {
		t.Run(stuck, func(t *testing.T) {
			w := open(t, testConfig())
			cursor := w.begun(t)
			one, two := `{"type":"user","id":"1"}`, `{"type":"user","id":"2"}`
			w.at(map[string]string{
				stream + start: page(`"77"`, event("e1", "EDIT_USER", one, "")),
				stream + "77":  page(stuck, event("e2", "EDIT_USER", two, "")),
			})
			got, next := w.poll(t, cursor)
			if len(got) != 1 || got[0] != "e1 subject:1" || !strings.Contains(string(next), `"77"`) {
				t.Errorf("%q, cursor %s", got, next)
			}
			if found, _, err := w.Poll(t.Context(), next); err == nil {
				t.Errorf("no error, and %+v", found)
			}
		})
	}
}

// TestLogsThatFailDoNotHoldTheStreamBack; while it is silent they are an error.
func TestLogsThatFailDoNotHoldTheStreamBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, testConfig())
		cursor := w.begun(t)
		time.Sleep(15 * 24 * time.Hour)
		w.at(map[string]string{stream + "now": page("500")})
		_, next := w.poll(t, cursor)
		w.at(map[string]string{
			stream + "500": page("501", event("new", "EDIT_USER", `{"type":"user","id":"9"}`, "")),
			logs:           page("0", event("e1", "EDIT_USER", `{"type":"user","id":"1"}`, "")),
		})
		got, next := w.poll(t, next)
		if len(got) != 1 || got[0] != "new subject:9" || !strings.Contains(string(next), "missed") {
			t.Errorf("%q, cursor %s", got, next)
		}
		if found, _, err := w.Poll(t.Context(), next); err == nil {
			t.Errorf("nothing in the stream, and the logs fail: %+v", found)
		}
	})
}

// TestABeginningElsewhereIsAnotherChange: what lies between the two is in no page.
func TestABeginningElsewhereIsAnotherChange(t *testing.T) {
	w := open(t, testConfig())
	var ids []string
	for _, at := range []string{"500", "500", "600"} {
		w.at(map[string]string{stream + "now": page(at)})
		got, _, err := w.Poll(t.Context(), []byte("damaged"))
		if err != nil || len(got) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		ids = append(ids, got[0].ID)
	}
	if ids[0] != ids[1] || ids[1] == ids[2] {
		t.Errorf("ids %q", ids)
	}
}
