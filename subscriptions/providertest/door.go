package providertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

// marker stands in hostile deliveries; no error may repeat it.
const marker = "M4RKER-of-the-body"

// maxError bounds an error about a delivery, in bytes.
const maxError = 1024

// verify: what is authentic is accepted, as often as it comes; nothing else is.
func verify(t testing.TB, s *stage) {
	door := s.door(t)
	good, _ := s.deliver(t)
	before := copyOf(good)
	for range 2 {
		reply, err := door.Verify(good)
		s.tell(reply)
		if err != nil {
			t.Errorf("a good delivery: %v", err)
		}
	}
	if !bytes.Equal(before.Body, good.Body) || len(before.Header) != len(good.Header) {
		t.Error("verifying changes the delivery")
	}
	for name, d := range s.forged(good) {
		guard(t, name, func() {
			if _, err := door.Verify(d); !errors.Is(err, subscriptions.ErrRefused) {
				t.Errorf("%s: got %v, want it refused", name, err)
			}
		})
	}
	if s.site.Age == 0 {
		return
	}
	nearly := copyOf(good)
	nearly.Received = nearly.Received.Add(s.site.Age - 2*time.Second)
	if _, err := door.Verify(nearly); err != nil {
		t.Errorf("nearly too old: %v", err)
	}
}

// forged are deliveries that must be refused.
func (s *stage) forged(good subscriptions.Delivery) map[string]subscriptions.Delivery {
	all := map[string]subscriptions.Delivery{}
	add := func(name string, edit func(*subscriptions.Delivery)) {
		d := copyOf(good)
		edit(&d)
		all[name] = d
	}
	add("nothing at all", func(d *subscriptions.Delivery) { d.Header, d.Body = http.Header{}, nil })
	add("no headers", func(d *subscriptions.Delivery) { d.Header = http.Header{} })
	add("another tenant's", func(d *subscriptions.Delivery) { d.Tenant += "1" })
	add("another provider's", func(d *subscriptions.Delivery) { d.Provider += "1" })
	if r, ok := s.Provider.(subscriptions.Registrar); ok && r.Terms().OwnSecret {
		add("with the secret of no registration", func(d *subscriptions.Delivery) { d.Secrets = nil })
	}
	add("every header altered", func(d *subscriptions.Delivery) { alter(d.Header) })
	if s.site.Signed {
		add("an altered body", func(d *subscriptions.Delivery) { d.Body[len(d.Body)/2] ^= 1 })
		add("its first byte altered", func(d *subscriptions.Delivery) { d.Body[0] ^= 1 })
		add("a truncated body", func(d *subscriptions.Delivery) { d.Body = d.Body[:len(d.Body)-1] })
		add("a longer body", func(d *subscriptions.Delivery) { d.Body = append(d.Body, ' ') })
		add("a huge body", func(d *subscriptions.Delivery) { d.Body = bytes.Repeat([]byte("x"), 8<<20) })
		add("no body", func(d *subscriptions.Delivery) { d.Body = nil })
	}
	if s.site.Age > 0 {
		add("too old", func(d *subscriptions.Delivery) { d.Received = d.Received.Add(s.site.Age + 2*time.Second) })
		add("of tomorrow", func(d *subscriptions.Delivery) { d.Received = d.Received.AddDate(0, 0, -1) })
	}
	return all
}

// alter changes the last letter of every value.
func alter(h http.Header) {
	for _, values := range h {
		for i, v := range values {
			if v != "" {
				values[i] = v[:len(v)-1] + string(v[len(v)-1]^1)
			}
		}
	}
}

func copyOf(d subscriptions.Delivery) subscriptions.Delivery {
	d.Header, d.Body = d.Header.Clone(), bytes.Clone(d.Body)
	return d
}

// refuse: what is wrong with a delivery is of a family, and says nothing of it.
func refuse(t testing.TB, s *stage) {
	door := s.door(t)
	good, _ := s.deliver(t)
	all := s.forged(good)
	for name, body := range hostile(good.Body) {
		d := copyOf(good)
		d.Body = body
		all[name] = d
	}
	for name, d := range all {
		guard(t, name, func() {
			_, err := door.Verify(d)
			inFamily(t, "verify "+name, err)
			s.tell(err)
			c, ok, err := door.Translate(d)
			inFamily(t, "translate "+name, err)
			s.tell(c, err)
			if errors.Is(err, subscriptions.ErrRefused) {
				t.Errorf("translate %s: refused, although it was verified", name)
			}
			if ok && err == nil {
				sound(t, s, name, c, events.Webhook)
			}
		})
	}
}

// inFamily fails for an error that wraps none or both, or that tells of the body.
func inFamily(t testing.TB, name string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if errors.Is(err, subscriptions.ErrRefused) == errors.Is(err, subscriptions.ErrUnreadable) {
		t.Errorf("%s: %v, which wraps none or both of ErrRefused and ErrUnreadable", name, err)
	}
	text := err.Error()
	if strings.Contains(text, marker) || strings.Contains(text, "424242") || len(text) > maxError {
		t.Errorf("%s: the error, of %d bytes, repeats the body: %.200s", name, len(text), text)
	}
}

// hostile are bodies made of a good one, or of nothing.
func hostile(good []byte) map[string][]byte {
	all := map[string][]byte{
		"an empty object": []byte("{}"), "a list": []byte("[]"), "null": []byte("null"),
		"a number": []byte("424242424242"), "no JSON": []byte(marker), "not UTF-8": []byte("{\"id\":\"\xff\"}"),
		"deeply nested": bytes.Repeat([]byte("["), 1<<16),
		"huge":          append(append([]byte(`{"id":"`), bytes.Repeat([]byte(marker), 1<<18)...), `"}`...),
	}
	for n := range 8 {
		all["cut to "+string(rune('0'+n))+"/8"] = good[:len(good)*n/8]
	}
	var parsed any
	if json.Unmarshal(good, &parsed) != nil {
		return all
	}
	for name, leaf := range map[string]any{
		"text": marker, "a number": 424242424242.5, "null": nil,
		"a list": []any{marker}, "an object": map[string]any{"x": marker},
		"long text": strings.Repeat(marker, 100),
	} {
		body, err := json.Marshal(replaced(parsed, leaf))
		if err == nil {
			all[name+" for every value"] = body
		}
		for key, one := range each(parsed, leaf) {
			if body, err = json.Marshal(one); err == nil {
				all[name+" for "+key] = body
			}
		}
	}
	return all
}

// replaced puts a leaf in the place of every leaf.
func replaced(v, leaf any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, one := range v {
			out[k] = replaced(one, leaf)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, one := range v {
			out[i] = replaced(one, leaf)
		}
		return out
	}
	return leaf
}

// each puts a leaf in the place of one member of the object at a time.
func each(v, leaf any) map[string]any {
	all := map[string]any{}
	object, _ := v.(map[string]any)
	for key := range object {
		other := map[string]any{}
		for k, one := range object {
			other[k] = one
		}
		other[key] = leaf
		all[key] = other
	}
	return all
}

// translate: a delivery is the same change however often it comes, and another one
// is another.
func translate(t testing.TB, s *stage) {
	door := s.door(t)
	first, c := s.deliver(t)
	sound(t, s, "a delivery", c, events.Webhook)
	if !c.Received.Equal(first.Received) {
		t.Errorf("received %s, want %s", c.Received, first.Received)
	}
	again := copyOf(first)
	again.Received = again.Received.Add(time.Second)
	again.Header.Set("X-Another-Attempt", "2")
	for _, d := range []subscriptions.Delivery{first, again} {
		twice, ok, err := door.Translate(d)
		if err != nil || !ok || twice.ID != c.ID || !slices.Equal(twice.Tags, c.Tags) {
			t.Errorf("once more: %+v, %t, %v; want %+v", twice, ok, err, c)
		}
	}
	if _, other := s.deliver(t); other.ID == c.ID {
		t.Errorf("two changes have the id %s", c.ID)
	}
}

// origin: a delivery names the registration that sent it; whatever else comes, names
// what may be one, or none.
func origin(t testing.TB, s *stage) {
	door := s.door(t)
	good, _ := s.deliver(t)
	before := copyOf(good)
	for range 2 {
		if got, want := door.Origin(good), (subscriptions.Origin{Subscription: s.hook}); got != want {
			t.Errorf("a good delivery is of %+v, want %+v", got, want)
		}
	}
	if !bytes.Equal(before.Body, good.Body) || len(before.Header) != len(good.Header) {
		t.Error("asking for its origin changes the delivery")
	}
	bodies := hostile(good.Body)
	bodies["nothing"], bodies["no bytes"] = nil, []byte{}
	for name, body := range bodies {
		d := copyOf(good)
		d.Body = body
		guard(t, "origin of "+name, func() {
			got := door.Origin(d)
			if got.Subscription != "" && events.CheckID(got.Subscription) != nil {
				t.Errorf("%s: of a registration with an id of %d bytes", name, len(got.Subscription))
			}
			if len(body) == 0 && got != (subscriptions.Origin{}) {
				t.Errorf("%s: of %+v", name, got)
			}
		})
	}
}

// sound fails for a change that cannot be published, or is not this provider's.
func sound(t testing.TB, s *stage, name string, c events.Change, from events.Source) {
	t.Helper()
	s.tell(c)
	if err := c.Validate(); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if c.Home != s.site.Home || c.Source != from || c.Received.IsZero() {
		t.Errorf("%s: home %s, source %q, received %s", name, c.Home, c.Source, c.Received)
	}
}
