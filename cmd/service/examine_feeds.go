package service

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/budget"
	"github.com/rescindhq/rescind/subscriptions/providers"
	"github.com/rescindhq/rescind/subscriptions/renew"
	"github.com/rescindhq/rescind/subscriptions/tail"
)

const (
	// dueSoon is when a subscription should have been prolonged: the listeners do
	// that long before.
	dueSoon  = 10 * time.Minute
	gapsTold = 24 * time.Hour
	// providerSkew is what tokens and signed deliveries bear.
	providerSkew = 30 * time.Second
)

// openTenants opens the providers to learn what feeds there must be. No call is
// made, and they have no vault.
func (e *exam) openTenants() error {
	c := &core{cfg: e.cfg, log: slog.New(slog.DiscardHandler), provide: providers.Open, vault: new(stream.Vault)}
	err := c.openProviders(budget.NewLocal())
	e.tenants = c.tenants
	return err
}

// entries reads what lies in a bucket now under a pattern, which must not be
// created.
func (e *exam) entries(ctx context.Context, bucket, pattern string) (all []jetstream.KeyValueEntry, err error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	kv, err := e.js.KeyValue(ctx, bucket)
	if err != nil {
		return nil, err
	}
	w, err := kv.Watch(ctx, pattern, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Stop() }() // the connection ends it too
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case one, ok := <-w.Updates():
			if !ok {
				return nil, errors.New("the watch was ended")
			}
			if one == nil { // these were all
				return all, nil
			}
			all = append(all, one)
		}
	}
}

// sealed looks whether what is sealed was sealed with the configured key.
func (e *exam) sealed(ctx context.Context) {
	const about = "vault"
	key, err := e.cfg.NATS.SealingKey()
	if err != nil {
		e.note(Failure, about, err.Error(), "mend nats.vault_key")
		return
	}
	entries, err := e.entries(ctx, stream.Bucket, "secret.>")
	if err != nil && !absent(err) {
		e.unreached(about, err, "the user needs to read the bucket "+stream.Bucket)
		return
	}
	switch opened, foreign := stream.Unsealed(entries, key); {
	case foreign > 0:
		e.note(Failure, about, fmt.Sprintf("%d of %d sealed values cannot be opened", foreign, opened+foreign),
			"nats.vault_key is not what they were sealed with: give the services the one they had")
	case opened == 0:
		e.fine(about, "nothing has been sealed yet")
	default:
		e.fine(about, "%d sealed values can be opened", opened)
	}
}

// subscriptions looks at those that there must be.
func (e *exam) subscriptions(ctx context.Context) {
	attached, err := stream.Attach(e.js.Conn())
	var rows []Subscribed
	if err == nil {
		rows, err = Subscriptions{Ledgers: attached.Ledgers()}.List(ctx, "", "")
	}
	if err != nil && !errors.Is(err, stream.ErrNoLedgers) {
		e.unreached("subscriptions", err, "the user needs to read the bucket "+stream.Bucket)
		return
	}
	by := map[events.Home]Subscribed{}
	for _, r := range rows {
		by[r.Home] = r
	}
	for _, t := range e.tenants {
		if !subscribes(t.Provider) {
			continue
		}
		about := "subscriptions of " + t.String()
		r, ok := by[t.Home]
		if !ok {
			e.note(Unknown, about, "nothing is noted of them yet", "start a listener")
			continue
		}
		e.subscribed(about, r)
	}
}

// subscribes says whether there must be subscriptions.
func subscribes(p providers.Provider) bool {
	_, delivers := p.(subscriptions.Door)
	_, registers := p.(subscriptions.Registrar)
	return delivers && registers
}

func (e *exam) subscribed(about string, r Subscribed) {
	order := fmt.Sprintf("%s %s", events.Escape(string(r.Provider)), events.Escape(string(r.Tenant)))
	switch {
	case !r.Paused.IsZero():
		e.note(Warning, about, "taken down by an operator since "+stamp(r.Paused), "rescind subscriptions apply "+order)
	case r.State != events.FeedAlive:
		e.note(Failure, about, string(r.State)+": "+r.Problem, remedyOf(r.Fault)+"; then rescind subscriptions apply "+order)
	default:
		e.fine(about, "alive: %s, the last proof at %s", counted(len(r.Registrations), "subscription", "subscriptions"),
			stamp(r.Proof))
		if r.Problem != "" {
			e.note(Warning, about, r.Problem, remedyOf(r.Fault))
		}
	}
	now := e.now()
	for _, one := range r.Registrations {
		if left := one.Expires.Sub(now); !one.Expires.IsZero() && one.Serves && left < dueSoon {
			e.note(Warning, about, fmt.Sprintf("%s ends in %s and was not prolonged", one.For, left.Round(time.Second)),
				"does a listener run? rescind subscriptions renew "+order)
		}
	}
	e.gaps(about, r.Gaps, now)
}

// gaps tells of those of the last day: each was mended.
func (e *exam) gaps(about string, all []subscriptions.Gap, now time.Time) {
	all = slices.DeleteFunc(slices.Clone(all), func(g subscriptions.Gap) bool { return now.Sub(g.To) > gapsTold })
	if len(all) == 0 {
		return
	}
	last := all[len(all)-1]
	e.note(Warning, about, fmt.Sprintf("%s in the last day, the last from %s to %s: %s; %s",
		counted(len(all), "gap", "gaps"), stamp(last.From), stamp(last.To), last.Cause, last.Mended),
		"nothing is owed; if they come again look for the cause")
}

func remedyOf(f subscriptions.Fault) string {
	switch f {
	case subscriptions.FaultRight:
		return "give the app or its user the right at the provider"
	case subscriptions.FaultAddress:
		return "the provider must reach listener.public_url over HTTPS"
	case subscriptions.FaultFull:
		return "remove subscriptions that nobody needs at the provider"
	case subscriptions.FaultFilters:
		return "the app lacks the scope of these filters"
	case subscriptions.FaultLater:
		return "wait: the provider limits the rate"
	}
	return "is a listener running? Its log says more"
}

// feeds looks at what shows changes to reach us.
func (e *exam) feeds(ctx context.Context) {
	entries, err := e.entries(ctx, stream.FeedBucket, ">")
	if err != nil && !absent(err) {
		e.unreached("feeds", err, "the user needs to read the bucket "+stream.FeedBucket)
		return
	}
	by := map[stream.Followed]events.Feed{}
	for _, one := range entries {
		f, err := events.DecodeFeed(one.Value())
		if err != nil {
			continue // as the services do
		}
		id := stream.Followed{Home: f.Home, Kind: cmp.Or(f.Kind, events.FeedWebhook)}
		known := by[id]
		if f.Died.IsZero() {
			known.Proof = f.Proof
		} else {
			known.Died, known.Cause = f.Died, f.Cause
		}
		by[id] = known
	}
	w := Worker{core: &core{cfg: e.cfg, tenants: e.tenants}, feedBound: renew.Bound(renew.DefaultCheck)}
	for _, must := range w.followed() {
		e.feed(must, by[stream.Followed{Home: must.Home, Kind: must.Kind}])
	}
}

func (e *exam) feed(must stream.Followed, f events.Feed) {
	about := fmt.Sprintf("feed of %s, %s", must.Home, must.Kind)
	remedy := "is a worker running? Its log says what goes wrong with polls"
	if must.Kind == events.FeedWebhook {
		remedy = "is a listener running? rescind subscriptions list says more"
	}
	switch state := f.State(e.now(), must.Bound); {
	case state == events.FeedAlive:
		e.fine(about, "alive, the last proof at %s", stamp(f.Proof))
	case state == events.FeedDead:
		e.note(Failure, about, fmt.Sprintf("dead since %s: %s", stamp(f.Died), f.Cause), remedy)
	case f.Proof.IsZero():
		e.note(Failure, about, "doubtful: nobody has shown it to live", remedy)
	default:
		e.note(Failure, about, fmt.Sprintf("doubtful: the last proof is of %s, and one holds %s",
			stamp(f.Proof), must.Bound), remedy)
	}
}

// leases says who of the fleet does what one does for all.
func (e *exam) leases(ctx context.Context) {
	entries, err := e.entries(ctx, stream.Bucket, "lease.>")
	if err != nil && !absent(err) {
		e.unreached("leases", err, "the user needs to read the bucket "+stream.Bucket)
		return
	}
	by := map[string]jetstream.KeyValueEntry{}
	for _, one := range entries {
		by[one.Key()] = one
	}
	want := map[string]time.Duration{}
	for _, t := range e.tenants {
		if subscribes(t.Provider) {
			want["subscriptions"] = renew.LeaseLife
		}
		if _, polled := t.Provider.(subscriptions.Tail); polled {
			want[leaseName(t.Home)] = tail.LeaseLife
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		e.lease(name, want[name], by[stream.LeaseKey(name)])
	}
}

func (e *exam) lease(name string, life time.Duration, there jetstream.KeyValueEntry) {
	var who struct {
		Holder string `json:"holder"`
	}
	about, service := "lease "+name, "worker"
	if name == "subscriptions" {
		service = "listener"
	}
	remedy := "is a " + service + " running?"
	switch {
	case there == nil:
		e.note(Unknown, about, "nobody has had it yet", "start a "+service)
	case json.Unmarshal(there.Value(), &who) != nil || who.Holder == "":
		e.note(Failure, about, "nobody holds it", remedy)
	case e.now().Sub(there.Created()) > 2*life:
		e.note(Failure, about, "its holder was last heard of at "+stamp(there.Created()), remedy)
	default:
		e.fine(about, "a %s holds it", service)
	}
}

// providerClocks asks each provider the time, by a request that needs no token.
func (e *exam) providerClocks(ctx context.Context) {
	for _, p := range e.cfg.Providers {
		about := "clock of " + p.Name
		base := baseOf(p)
		before := time.Now()
		head, err := headOf(ctx, base)
		after := time.Now()
		if err != nil {
			e.note(Unknown, about, fmt.Sprintf("%s does not answer: %s", redactedURL(base), err),
				"may this machine reach the provider? HTTPS_PROXY is read")
			continue
		}
		at, err := http.ParseTime(head.Get("Date"))
		if err != nil {
			e.note(Unknown, about, "its replies bear no date", "")
			continue
		}
		// It is cut to seconds: half of one is added, and as much is doubted.
		const half = 500 * time.Millisecond
		e.skew(about, at.Add(half), before.Add(-half), after.Add(half), providerSkew)
	}
}

func headOf(ctx context.Context, base string) (http.Header, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	_, head, err := fetch(ctx, http.MethodHead, base)
	return head, err
}

// baseOf is where a provider's API is.
func baseOf(p config.Provider) string {
	for _, k := range providers.All() {
		for _, s := range k.Settings {
			if k.Kind == p.Kind && s.Name == "base_url" {
				return cmp.Or(p.Plain["base_url"], s.Default)
			}
		}
	}
	return ""
}

// redactedURL is an address without a password, and without what follows its path.
func redactedURL(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "the address that was given"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return strings.TrimSuffix(u.String(), "/")
}
