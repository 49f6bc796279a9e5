package lookup

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rescindhq/rescind/cache"
)

// The fields are asked for in this order, then each grant and its reason.
const (
	atUntil = iota
	atCovers
	atAsOf
	atVersion
	atBasis
	atConfirmed
	atGrants
)

// whyPrefix begins the field that says why a grant is not given.
const whyPrefix = "why/"

// fields names what is read of an entry.
func fields(need []cache.Grant) []string {
	names := make([]string, atGrants, atGrants+2*len(need))
	names[atUntil], names[atCovers] = cache.FieldUntil, cache.FieldCovers
	names[atAsOf], names[atVersion] = cache.FieldAsOf, cache.FieldVersion
	names[atBasis], names[atConfirmed] = cache.FieldBasis, cache.FieldConfirmed
	for _, g := range need {
		names = append(names, string(g), whyPrefix+string(g))
	}
	return names
}

// The messages of the cache.
const (
	nothingCached = "nothing is cached"
	notUsable     = "what is cached must not be used: its deadline has passed, or is too far away to be true"
	notRead       = "what is cached does not tell: not all that is needed was read"
)

// judge applies the reading rule to the values of the fields. It agrees with
// [cache.Decode] and [cache.Entry.Judge], which need the whole entry. Beside
// an error the decision is unknown; it wraps [cache.ErrUnreadable].
func judge(now time.Time, values []any, need []cache.Grant) (Decision, error) {
	if values[atUntil] == nil {
		return Decision{Source: FromCache, Message: nothingCached}, nil
	}
	d, err := readHead(values)
	if err != nil {
		return Decision{Source: FromCache}, fmt.Errorf("%w: %w", cache.ErrUnreadable, err)
	}
	if !cache.Usable(now, d.Until) {
		return Decision{Source: FromCache, Message: notUsable}, nil
	}
	d.decide(values, need)
	return d, nil
}

// decide sets the state. Where something is unknown, the entry's particulars
// are told all the same.
func (d *Decision) decide(values []any, need []cache.Grant) {
	var room [8]cache.State
	states, covers := room[:0], text(values[atCovers])
	for i, g := range need {
		width, present := values[atGrants+2*i].(string)
		state := cache.Judge(covers, g, width, present)
		states = append(states, state)
		switch state {
		case cache.Granted:
			d.Widths = with(d.Widths, g, width)
		case cache.Denied:
			d.Missing = append(d.Missing, g)
		}
		if why, given := values[atGrants+2*i+1].(string); given && state != cache.Granted {
			d.Reasons = with(d.Reasons, g, why)
		}
	}
	if d.State = cache.And(states...); d.State == cache.Unknown {
		d.Message = notRead
	}
}

func with(m map[cache.Grant]string, g cache.Grant, value string) map[cache.Grant]string {
	if m == nil {
		m = make(map[cache.Grant]string, 1)
	}
	m[g] = value
	return m
}

// readHead reads what is not a grant.
func readHead(values []any) (d Decision, err error) {
	d = Decision{Basis: text(values[atBasis]), Confirmed: text(values[atConfirmed]) == "1", Source: FromCache}
	if d.Until, err = millis(text(values[atUntil])); err != nil {
		return d, fmt.Errorf("%s: %w", cache.FieldUntil, err)
	}
	if d.AsOf, err = millis(text(values[atAsOf])); err != nil {
		return d, fmt.Errorf("%s: %w", cache.FieldAsOf, err)
	}
	if d.Version, err = cache.ParseVersion(text(values[atVersion])); err != nil {
		return d, fmt.Errorf("%s: %w", cache.FieldVersion, err)
	}
	if covers := text(values[atCovers]); covers != "" {
		d.Covers = make([]cache.Kind, 0, 4)
		for k := range strings.SplitSeq(covers, ",") {
			d.Covers = append(d.Covers, cache.Kind(k))
		}
	}
	return d, nil
}

// text is a field's value; empty if it is not there.
func text(v any) string {
	s, _ := v.(string)
	return s
}

func millis(s string) (time.Time, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 1<<48 {
		return time.Time{}, fmt.Errorf("%.40q is not a time in unix ms", s)
	}
	return time.UnixMilli(n), nil
}
