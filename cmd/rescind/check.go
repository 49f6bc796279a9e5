package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

type checkCmd struct {
	Provider string   `arg:"" help:"The provider's configured name."`
	Tenant   string   `arg:"" help:"Account, enterprise or workspace."`
	Subject  string   `arg:"" help:"Extension or user."`
	Grants   []string `arg:"" optional:"" help:"What it needs, such as permission/ReadMessages; all of it. None: list what is known."`
	Resource string   `help:"Something in the tenant; empty is the tenant itself."`
	Level    string   `default:"cached" enum:"cached,verify" help:"cached (default): as apps read it, fetched if missing; verify: ask the provider, compare, store nothing."`
	JSON     bool     `name:"json" help:"Print JSON."`

	workerFlags
	natsFlags
}

// Help is what --help adds.
func (checkCmd) Help() string {
	return `With --config, or --nats, it also says which change touched the entry last. "differs" names a
field and what it holds: of a grant the width, of why/... the reason, of _covers the kinds; - is nothing.

Exit status 0 granted, or known if no grants are named; 2 denied; 3 unknown; 1 an error, or with
--level verify a difference, or a provider that cannot be asked.

Examples:
  rescind check ringcentral 37439510 8475874957 permission/InternationalCalls
  rescind check ringcentral 37439510 8475874957 permission/ReadMessages scope/ReadMessages --json
  rescind check ringcentral 37439510 8475874957 --level verify --nats nats://127.0.0.1:4223
  rescind check box 987 202 --resource folder:1001`
}

// noRight is the exit status of a check that found no right.
type noRight struct{ state cache.State }

func (n noRight) Error() string { return n.state.String() }

// ExitCode tells denied from unknown.
func (n noRight) ExitCode() int {
	if n.state == cache.Denied {
		return 2
	}
	return 3
}

// checked is all that a check has found.
type checked struct {
	verified
	need  []cache.Grant
	state cache.State
	known cache.Facts // what is judged: what is cached, else what the provider says
	last  *stream.Stored
	// silent says why it is not known which change was the last; nil if it is.
	silent error
}

// Run asks and prints. It errs unless everything is granted.
func (c checkCmd) Run(ctx context.Context, t terminal) error {
	found := checked{need: make([]cache.Grant, len(c.Grants))}
	for i, g := range c.Grants {
		var err error
		if found.need[i], err = cache.ParseGrant(g); err != nil {
			return err
		}
	}
	ref := events.Ref{
		Home:    events.Home{Provider: events.Provider(c.Provider), Tenant: events.Tenant(c.Tenant)},
		Subject: events.Subject(c.Subject), Resource: events.Resource(c.Resource),
	}
	if err := ref.Validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, verifyLimit)
	defer cancel()
	ask := verification{ref.Provider, ref.Tenant, ref.Subject, ref.Resource, c.Level}
	if err := c.post(ctx, verifyPath, ask, &found.verified); err != nil {
		return err
	}
	found.judge()
	found.last, found.silent = c.lastChange(ctx, ref, found.tags(ref))
	if err := c.print(t, found); err != nil {
		return err
	}
	return c.verdict(found)
}

// judge decides what is cached, or else what the provider says.
func (f *checked) judge() {
	switch {
	case f.Cached != nil:
		f.known = f.Cached.facts()
	case f.Provider != nil:
		f.known = f.Provider.facts()
	default:
		return
	}
	f.state = cache.Granted // nothing is needed
	if len(f.need) > 0 {
		f.state = f.known.Judge(f.need...)
	}
	if f.state == cache.Unknown && f.Error == "" {
		f.Error = "not all of these kinds could be read"
	}
}

// tags are those of what is judged; a change of the subject touches it in any case.
func (f *checked) tags(ref events.Ref) []string {
	switch {
	case f.Cached != nil && len(f.Cached.Tags) > 0:
		return f.Cached.Tags
	case f.Provider != nil:
		return f.Provider.Tags
	}
	return []string{events.SubjectTag(ref.Subject).String(), events.TenantTag.String()}
}

// verdict is the exit status.
func (c checkCmd) verdict(f checked) error {
	if c.Level == "verify" && (f.Provider == nil || len(f.Differences) > 0) {
		return unwell{1}
	}
	if f.state != cache.Granted {
		return noRight{f.state}
	}
	return nil
}

// word is the state; of what was not asked for it is only known or not.
func (f *checked) word() string {
	if len(f.need) == 0 && f.state == cache.Granted {
		return "known"
	}
	return f.state.String()
}

func (c checkCmd) print(t terminal, f checked) error {
	if c.JSON {
		return json.NewEncoder(t.out).Encode(c.object(f))
	}
	for _, r := range c.rows(f, time.Now()) {
		if r[1] == "" {
			continue
		}
		if _, err := fmt.Fprintf(t.out, "%-12s %s\n", r[0], r[1]); err != nil {
			return err
		}
	}
	return nil
}

// object is what is printed for programs.
func (c checkCmd) object(f checked) map[string]any {
	width, why, missing := map[cache.Grant]string{}, map[cache.Grant]string{}, []cache.Grant{}
	for _, g := range f.shown() {
		switch f.known.Judge(g) {
		case cache.Granted:
			width[g] = f.known.Grants[g]
		case cache.Denied:
			missing = append(missing, g)
		}
		if text := f.known.Why[g]; text != "" {
			why[g] = text
		}
	}
	o := map[string]any{
		"state": f.word(), "message": f.Error, "feed": f.Feed, "width": width, "missing": missing, "reason": why,
		"basis": f.known.Basis, "covers": f.known.Covers, "cached": f.Cached, "last_change": nil,
	}
	if e := f.Cached; e != nil {
		o["as_of"], o["until"], o["version"], o["confirmed"] = e.AsOf, e.Until, e.Version.String(), e.Confirmed
	}
	if m := f.last; m != nil {
		o["last_change"] = map[string]any{"sequence": m.Sequence, "time": m.Time.UTC(),
			"id": m.Change.ID, "source": m.Change.Source, "tags": m.Change.Tags}
	}
	if c.Level == "verify" {
		o["provider"], o["differences"], o["match"], o["changed"] = f.Provider, f.Differences, f.Match, f.Changed
	}
	return o
}

// shown are the grants that are told of: those that are needed, or all.
func (f *checked) shown() []cache.Grant {
	if len(f.need) > 0 {
		return f.need
	}
	return slices.Concat(slices.Sorted(maps.Keys(f.known.Grants)), slices.Sorted(maps.Keys(f.known.Why)))
}

// rows are what is printed for people; those without a value are left out.
func (c checkCmd) rows(f checked, now time.Time) [][2]string {
	rows := [][2]string{{"state", f.word()}, {"message", quoted(f.Error)}}
	for _, g := range f.shown() {
		text := quoted(string(g))
		switch why := quoted(f.known.Why[g]); f.known.Judge(g) {
		case cache.Granted:
			rows = append(rows, [2]string{"granted", text + ": " + quoted(f.known.Grants[g])})
		case cache.Denied:
			rows = append(rows, [2]string{"denied", strings.TrimSuffix(text+": "+why, ": ")})
		default:
			rows = append(rows, [2]string{"unknown", strings.TrimSuffix(text+": "+why, ": ")})
		}
	}
	rows = append(rows, c.cachedRows(f, now)...)
	if f.Cached != nil || f.Provider != nil {
		rows = append(rows, [2]string{"basis", quoted(f.known.Basis)}, [2]string{"covers", joinKinds(f.known.Covers)},
			[2]string{"from", quoted(strings.Join(f.tags(events.Ref{}), ", "))})
	}
	rows = append(rows, [2]string{"last change", f.change(now)})
	if c.Level == "verify" {
		rows = append(rows, f.comparison()...)
	}
	return rows
}

// cachedRows tell of the entry itself.
func (c checkCmd) cachedRows(f checked, now time.Time) [][2]string {
	e := f.Cached
	switch {
	case e == nil && c.Level == "verify":
		return [][2]string{{"cached", "nothing"}}
	case e == nil:
		return nil
	}
	rows := [][2]string{{"cached", "yes"}, {"age", now.Sub(e.AsOf).Round(time.Millisecond).String()}}
	if e.Fetched {
		rows[0][1] = "no, it was fetched for this"
	}
	if e.Stored {
		rows = append(rows,
			[2]string{"usable for", max(0, e.Until.Sub(now)).Round(time.Millisecond).String()},
			[2]string{"version", e.Version.String()})
	} else {
		rows = append(rows, [2]string{"kept", "no: changes came faster than it could be stored"})
	}
	if e.Confirmed {
		return append(rows, [2]string{"confirmed", "yes"})
	}
	return append(rows, [2]string{"confirmed", "no: less than 30 s after the last change, as far as is known"})
}

// comparison tells what the provider says.
func (f *checked) comparison() [][2]string {
	switch {
	case f.Provider == nil:
		return [][2]string{{"provider", "could not be asked"}}
	case f.Changed:
		return [][2]string{{"provider", "not compared: the entry changed meanwhile, twice"}}
	case f.Cached == nil:
		return [][2]string{{"provider", "says the above"}}
	case len(f.Differences) == 0:
		return [][2]string{{"provider", "says the same"}}
	}
	rows := [][2]string{{"provider", "says something else"}}
	for _, d := range f.Differences {
		rows = append(rows, [2]string{"differs",
			fmt.Sprintf("%s: cached %s, provider %s", quoted(d.Grant), orDash(d.Cached), orDash(d.Provider))})
	}
	return rows
}

func orDash(s *string) string {
	if s == nil {
		return "-"
	}
	return quoted(*s)
}

// change is the last change as one cell.
func (f *checked) change(now time.Time) string {
	switch m := f.last; {
	case m != nil:
		return fmt.Sprintf("%s, sequence %d, %s: %s", distance(m.Time, now), m.Sequence,
			quoted(string(m.Change.Source)), tagList(m.Change))
	case errors.Is(f.silent, errNotAsked):
		return "-"
	case f.silent != nil:
		return "not known: " + quoted(f.silent.Error())
	}
	return "none that is still in the stream"
}

func joinKinds(kinds []cache.Kind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, ", ")
}

// errNotAsked says that nobody told where NATS is.
var errNotAsked = errors.New("NATS was not asked")

// backwards are the spans in which the newest change is looked for, one after the
// other; the last is all there is.
var backwards = []time.Duration{10 * time.Minute, 2 * time.Hour, 24 * time.Hour, 0}

// lastChange is the newest change of any of the tags; nil if there is none.
func (c checkCmd) lastChange(ctx context.Context, ref events.Ref, tags []string) (*stream.Stored, error) {
	if c.Config == "" && c.Nats == "" && c.Credentials == "" && c.User == "" {
		return nil, errNotAsked
	}
	s, shut, err := c.connect(ctx, "check")
	if err != nil {
		return nil, err
	}
	defer shut()
	var last *stream.Stored
	o := stream.ReadOptions{Home: ref.Home}
	for _, span := range backwards {
		first := uint64(0)
		o.Since = time.Time{}
		if span > 0 {
			o.Since = time.Now().Add(-span)
		}
		err := s.Read(ctx, o, func(m stream.Stored) error {
			if first == 0 {
				first = m.Sequence
			}
			if touches(m.Change, tags) {
				last = &m
			}
			return nil
		})
		if err != nil || last != nil || first == 1 {
			return last, err
		}
		if first > 0 {
			o.ToSeq = first - 1
		}
	}
	return nil, nil
}

func touches(c events.Change, tags []string) bool {
	return slices.ContainsFunc(c.Tags, func(t events.Tag) bool { return slices.Contains(tags, t.String()) })
}
