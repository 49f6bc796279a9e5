package faults

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/subscriptions/sim"
)

func newTestTruth(t *testing.T) *truth {
	t.Helper()
	tr, err := newTruth(sim.NewRingCentral(sim.Options{}), 4)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func notice(uuid, subject string) string {
	const text = `{"uuid":%q,"body":{"extensions":[{"extensionId":%q,"eventType":"Update"}]}}`
	return fmt.Sprintf(text, uuid, subject)
}

// deliver posts as the provider does and returns the status.
func deliver(t *testing.T, b *balancer, body string) int {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/hooks/x", strings.NewReader(body))
	b.ServeHTTP(w, r)
	return w.Code
}

func TestABalancerAsksTheOtherListener(t *testing.T) {
	tr := newTestTruth(t)
	asked := make(chan string, 2)
	listener := func(name string, status int) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked <- name + r.URL.Path
			if status == 0 {
				panic(http.ErrAbortHandler) // dies before it answers
			}
			w.WriteHeader(status)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	dying, good := listener("dying", 0), listener("good", http.StatusOK)
	refusing := httptest.NewServer(nil)
	refusing.Close()
	full := listener("full", http.StatusServiceUnavailable)
	for _, c := range []struct {
		name    string
		targets []string
		want    int
		asked   []string
	}{
		{"dies", []string{dying, good}, 200, []string{"dying/hooks/x", "good/hooks/x"}},
		{"refuses", []string{refusing.URL, good}, 200, []string{"good/hooks/x"}},
		{"both refuse", []string{refusing.URL, refusing.URL}, 502, nil},
		{"an answer is an answer", []string{full, good}, 503, []string{"full/hooks/x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBalancer(tr, c.targets...)
			defer b.client.CloseIdleConnections()
			if status := deliver(t, b, notice("u", tr.subjects[1])); status != c.want {
				t.Errorf("status %d, want %d", status, c.want)
			}
			for _, want := range c.asked {
				if got := <-asked; got != want {
					t.Errorf("asked %s, want %s", got, want)
				}
			}
			if len(asked) > 0 {
				t.Errorf("asked %s too", <-asked)
			}
			list := b.since(0)
			if len(list) != 1 || b.count() != 1 || list[0].ok() != (c.want == 200) {
				t.Errorf("recorded %+v", list)
			}
			if n := b.at(0) + b.at(1); n > 0 {
				t.Errorf("%d under way", n)
			}
		})
	}
}

func TestABalancerKnowsWhatADeliveryTells(t *testing.T) {
	tr := newTestTruth(t)
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	b := newBalancer(tr, s.URL)
	defer b.client.CloseIdleConnections()
	subject := tr.subjects[1]
	if _, err := tr.turn(subject); err != nil {
		t.Fatal(err)
	}
	deliver(t, b, "") // a handshake is none
	deliver(t, b, notice("u-1", subject))
	want := []delivery{{id: "ringcentral:37439510:u-1", subject: subject, gen: 1, status: 200}}
	got := b.since(0)
	for i := range got {
		got[i].ended = want[0].ended
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(delivery{})); diff != "" {
		t.Error(diff)
	}
	if !b.told(subject, 1) || b.told(subject, 2) || b.told(tr.subjects[2], 0) {
		t.Error("it does not know what was accepted")
	}
}
