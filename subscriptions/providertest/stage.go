package providertest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

// bound is of every wait for what must come, in simulated time.
const bound = 10 * time.Minute

// address is where deliveries are wanted. They come to the suite in any case.
const address = "https://listener.example/hooks/0123456789abcdef"

// stage is a world with the suite around it.
type stage struct {
	site Site
	World
	wire   *wire
	ledger *ledger
	number cache.Version
	come   chan subscriptions.Delivery
	hook   string // the registration that deliveries come by
	sent   int    // deliveries that were asked for

	mu   sync.Mutex
	told bytes.Buffer           // logs, errors, answers, changes: all that may be seen
	own  []subscriptions.Secret // of the registrations that were ordered
}

func newStage(t testing.TB, site Site) *stage {
	t.Helper()
	l := &ledger{}
	s := &stage{site: site, ledger: l, wire: &wire{ledger: l}, number: 100,
		come: make(chan subscriptions.Delivery, 256)}
	s.World = site.Open(t, Wiring{
		Deps: subscriptions.Deps{HTTP: &http.Client{Transport: s.wire}, Vault: newMemory(), Budget: l,
			Log: slog.New(slog.NewJSONHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug}))},
		Serve:      func(h http.Handler) { s.wire.vendor = h },
		Deliveries: carrier{s},
	})
	return s
}

// close ends the world. Whatever was checked: the books agree, and no secret was
// told.
func (s *stage) close(t testing.TB) {
	t.Helper()
	if s.World.Close != nil {
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		if err := s.World.Close(ctx); err != nil {
			t.Errorf("close the simulator: %v", err)
		}
	}
	s.wire.audit(t)
	s.ledger.audit(t, string(s.site.Home.Provider))
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.told.String()
	all := slices.Concat(s.site.Secrets, s.wire.secrets)
	for _, secret := range s.own {
		all = append(all, secret.Reveal())
	}
	for _, secret := range all {
		if at := strings.Index(text, secret); secret != "" && at >= 0 {
			t.Errorf("a secret of %d bytes was told, behind %q", len(secret), text[max(0, at-120):at])
			return
		}
	}
}

// Write is the log's.
func (s *stage) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told.Write(p)
}

// tell notes what the provider gave away.
func (s *stage) tell(all ...any) {
	for _, one := range all {
		fmt.Fprintf(s, "%+v\n", one)
	}
}

// order is for a registration with a secret that no other has.
func (s *stage) order(want string) subscriptions.Order {
	s.mu.Lock()
	defer s.mu.Unlock()
	secret := subscriptions.NewSecret(fmt.Sprintf("hunter2-of-registration-%d", len(s.own)))
	s.own = append(s.own, secret)
	return subscriptions.Order{Address: address, Want: want, Secret: secret}
}

// ordered are the secrets of all orders.
func (s *stage) ordered() []subscriptions.Secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.own)
}

// carrier brings deliveries to the suite, which answers as a listener would.
type carrier struct{ s *stage }

// RoundTrip takes one delivery.
func (c carrier) RoundTrip(r *http.Request) (*http.Response, error) {
	door, ok := c.s.Provider.(subscriptions.Door)
	if !ok {
		return saying(status(http.StatusNotFound, ""))(r)
	}
	d := subscriptions.Delivery{Home: c.s.site.Home, Header: r.Header.Clone(), Received: time.Now(),
		Secrets: c.s.ordered()}
	if r.Body != nil {
		var err error
		if d.Body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	reply, err := door.Verify(d)
	if err != nil {
		return saying(status(http.StatusUnauthorized, ""))(r)
	}
	select {
	case c.s.come <- d:
	default: // nobody waits for so many
	}
	return saying(func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range reply.Header {
			w.Header().Set(name, value)
		}
	})(r)
}

// must ends the check if a step of the world does not work.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// guard catches a panic, which no input may cause.
func guard(t testing.TB, what string, f func()) {
	t.Helper()
	defer func() {
		if why := recover(); why != nil {
			t.Errorf("%s: panic: %v", what, why)
		}
	}()
	f()
}

// context leaves no time to ask for a token again while something lasts: that waits
// under a mutex, and simulated time does not pass for those who wait for one.
func (s *stage) context(t testing.TB) (context.Context, context.CancelFunc) {
	t.Helper()
	if s.wire.lasting() {
		return context.WithTimeout(t.Context(), 4*time.Second)
	}
	return context.WithCancel(t.Context())
}

// read reads in a session of its own.
func (s *stage) read(t testing.TB, ref events.Ref) (a cache.Answer, used []events.Tag, err error) {
	t.Helper()
	s.number++
	at := &session{number: s.number}
	ctx, cancel := s.context(t)
	defer cancel()
	guard(t, "read "+ref.String(), func() { a, err = s.Provider.Read(ctx, ref, at) })
	s.tell(a, err)
	if err != nil && (len(a.Grants) > 0 || len(a.Covers) > 0) {
		t.Errorf("an answer comes with the error %v", err)
	}
	return a, at.used(), err
}

// poll looks once; an error comes alone.
func (s *stage) poll(t testing.TB, cursor []byte) (all []events.Change, next []byte, err error) {
	t.Helper()
	ctx, cancel := s.context(t)
	defer cancel()
	guard(t, "poll", func() {
		all, next, err = s.Provider.(subscriptions.Tail).Poll(ctx, bytes.Clone(cursor))
	})
	s.tell(all, err)
	if err != nil && (len(all) > 0 || len(next) > 0) {
		t.Errorf("changes or a cursor come with the error %v", err)
	}
	return all, next, err
}

// deliver lets the simulator deliver a notice of a change.
func (s *stage) deliver(t testing.TB) (subscriptions.Delivery, events.Change) {
	t.Helper()
	if s.hook == "" {
		registrar := s.registrar(t)
		made, err := registrar.Create(t.Context(), s.order(registrar.Wanted()[0]))
		must(t, err)
		s.hook = made.ID
	}
	must(t, s.Trigger(s.sent))
	s.sent++
	for end := time.After(bound); ; {
		select {
		case d := <-s.come:
			c, ok, err := s.Provider.(subscriptions.Door).Translate(d)
			must(t, err)
			if ok {
				return d, c
			}
		case <-end:
			t.Fatal("no delivery came that was accepted and tells of a change")
		}
	}
}

// door skips the check if there is none.
func (s *stage) door(t testing.TB) subscriptions.Door {
	t.Helper()
	door, ok := s.Provider.(subscriptions.Door)
	if !ok {
		t.Skip("this provider is no Door: its vendor delivers nothing")
	}
	if s.Trigger == nil {
		t.Fatal("a Door needs Trigger")
	}
	return door
}

func (s *stage) registrar(t testing.TB) subscriptions.Registrar {
	t.Helper()
	registrar, ok := s.Provider.(subscriptions.Registrar)
	if !ok {
		t.Skip("this provider is no Registrar: there is nothing to register for")
	}
	return registrar
}

func (s *stage) tail(t testing.TB) subscriptions.Tail {
	t.Helper()
	tail, ok := s.Provider.(subscriptions.Tail)
	if !ok {
		t.Skip("this provider is no Tail: it is not polled")
	}
	return tail
}

// doing is something that makes calls; its error is noted.
type doing struct {
	name string
	do   func(testing.TB) error
}

// doings are all that this provider can do and that only looks.
func (s *stage) doings() []doing {
	all := []doing{{"read", func(t testing.TB) error { _, _, err := s.read(t, s.Ref); return err }}}
	if _, ok := s.Provider.(subscriptions.Tail); ok {
		all = append(all, doing{"poll", func(t testing.TB) error { _, _, err := s.poll(t, nil); return err }})
	}
	if r, ok := s.Provider.(subscriptions.Registrar); ok {
		all = append(all, doing{"list", func(t testing.TB) (err error) {
			var list []subscriptions.Subscription
			ctx, cancel := s.context(t)
			defer cancel()
			guard(t, "list", func() { list, err = r.List(ctx) })
			s.tell(list, err)
			if err != nil && len(list) > 0 {
				t.Errorf("subscriptions come with the error %v", err)
			}
			return err
		}})
	}
	return all
}
