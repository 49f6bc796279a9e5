package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

const account = "37439510" // the simulator's

var home = events.Home{Provider: "ringcentral", Tenant: account}

func ref(subject string) events.Ref { return events.Ref{Home: home, Subject: events.Subject(subject)} }

// digits are permissions that no other includes: which of them a subject has
// writes its generation as a binary number. codes is how many there are.
var digits = []cache.Grant{
	"permission/CallRecording", "permission/OrganizeConference", "permission/ConfigureIntercom",
	"permission/Glip", "permission/Meetings", "permission/Groups", "permission/UserGroups", "permission/Sites",
}

const codes = 1 << 8

// truth is what the provider says, and since when. The first subject is the
// probe's, the second is read in one fault only, the others bear the load.
type truth struct {
	sim   *sim.RingCentral
	roles []string // by code

	mu       sync.Mutex // also held while the provider is told, so that nobody sees half of it
	subjects []string
	since    map[string][]time.Time // by generation
}

const (
	probe  = 0
	victim = 1
	loaded = 2 // the first that bears load
)

// newTruth makes roles and subjects at the provider, each in generation 0.
func newTruth(provider *sim.RingCentral, subjects int) (*truth, error) {
	t := &truth{sim: provider, since: map[string][]time.Time{}}
	for code := range codes {
		r := sim.Role{DisplayName: "code " + strconv.Itoa(code), Permissions: permissions(code)}
		id, err := provider.PutRole(r)
		if err != nil {
			return nil, err
		}
		t.roles = append(t.roles, id)
	}
	for i := range subjects {
		id := strconv.Itoa(5_000_000_000 + i)
		one := sim.Extension{ID: id, Name: "subject", Roles: t.roles[:1]}
		if err := provider.AddExtensions(one); err != nil {
			return nil, err
		}
		t.subjects, t.since[id] = append(t.subjects, id), []time.Time{time.Now()}
	}
	return t, nil
}

// permissions are those of a code, and one that all have.
func permissions(code int) []string {
	names := []string{"Reports"}
	for i, g := range digits {
		if code>>i&1 == 1 {
			names = append(names, g.Name())
		}
	}
	return names
}

// turn gives a subject its next generation and returns it. The notice is on
// its way then.
func (t *truth) turn(subject string) (gen int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	gen = len(t.since[subject])
	if err := t.sim.AssignRoles(subject, t.roles[gen%codes]); err != nil {
		return 0, fmt.Errorf("change %s: %w", subject, err)
	}
	t.since[subject] = append(t.since[subject], time.Now())
	return gen, nil
}

// now is a subject's generation.
func (t *truth) now(subject string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.since[subject]) - 1
}

// turns is how many notices the provider has sent.
func (t *truth) turns() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, since := range t.since {
		n += len(since) - 1
	}
	return n
}

// shown is the generation that an answer is of: the last with its code.
func (t *truth) shown(subject string, code int) int {
	now := t.now(subject)
	return now - (now-code%codes+codes)%codes
}

// times are the instants since when each generation holds.
func (t *truth) times(subject string) []time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.since[subject])
}

// agrees says whether the provider itself, asked now, has the subject in its
// last generation: the prover's own bookkeeping is held against it.
func (t *truth) agrees() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.sim.Extensions() {
		since, ours := t.since[e.ID]
		if want := t.roles[max(0, len(since)-1)%codes]; ours && !slices.Equal(e.Roles, []string{want}) {
			return fmt.Errorf("the prover is wrong: subject %s has roles %v, not %s", e.ID, e.Roles, want)
		}
	}
	return nil
}

// load changes subjects at random, at a steady rate, until ctx ends.
func (t *truth) load(ctx context.Context, rate int, random *rand.Rand) error {
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if _, err := t.turn(t.subjects[loaded+random.IntN(len(t.subjects)-loaded)]); err != nil {
			return err
		}
	}
}
