package refresh

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/fence"
	"github.com/rescindhq/rescind/events"
)

// session is one fetch of one entry, as its provider sees it.
type session struct {
	filler  *Filler
	ref     events.Ref
	lease   *fence.Lease
	used    []fence.Used
	refused map[string]bool // over all tries of the fill
	kept    []string        // what was kept elsewhere, over all tries
	old     bool            // some of it is older than this try
	asOf    time.Time       // when the first of the subject's own parts was fetched; zero if there is none
	until   time.Time       // when the first of the parts ends; likewise
}

var _ cache.Session = (*session)(nil)

// under starts another try.
func (s *session) under(l *fence.Lease) *session {
	s.lease, s.used, s.old = l, nil, false
	s.asOf, s.until = time.Time{}, time.Time{}
	return s
}

// renew refuses all that was kept elsewhere: the fence names one thing at a
// time, so a busy tag may have hidden that it is too old.
func (s *session) renew() {
	for _, name := range s.kept {
		s.refused[name] = true
	}
}

// Stamp is the number of this fetch.
func (s *session) Stamp() cache.Stamp { return s.lease.Stamp }

// Refused says whether the fence has refused the thing of that name.
func (s *session) Refused(name string) bool { return s.refused[name] }

// Needs is the lowest number of use for what is computed from these tags.
func (s *session) Needs(tags ...events.Tag) (n cache.Version) {
	for _, t := range tags {
		n = max(n, s.lease.Needs(t))
	}
	return n
}

// Use notes something kept elsewhere.
func (s *session) Use(name string, at cache.Stamp, tags ...events.Tag) {
	s.used = append(s.used, fence.Used{Name: name, Stamp: at, Tags: tags})
	s.kept = append(s.kept, name)
	s.old = s.old || at.Fence != s.lease.Stamp.Fence || at.Number < s.lease.Stamp.Number
}

// ownLives is how old a part that tells of rights may be when it is used, in
// lives of an entry: where those are short because changes may not reach us,
// the part must not keep what the entries drop.
const ownLives = 2

// partTries bounds how often a part that loses against changes is fetched.
const partTries = 3

// fieldData is where a part keeps what was fetched.
const fieldData = "data"

// Part returns a part that is kept, or fetches and keeps it.
func (s *session) Part(ctx context.Context, spec cache.PartSpec) ([]byte, error) {
	var data []byte
	var stamp cache.Stamp
	want, tags := fence.Want{Watch: spec.Tags}, spec.Tags
	if subject := events.SubjectTag(s.ref.Subject); spec.Own {
		want.Version = s.lease.Needs(subject)
		want.After = s.lease.AsOf.Add(-ownLives * s.filler.life(s.ref.Home, 0))
		tags = append(slices.Clone(tags), subject)
	}
	for range partTries {
		lease, live, err := s.filler.await(ctx, s.ref.Home, cache.PartName(spec.Name), want)
		if err != nil {
			return nil, fmt.Errorf("part %s: %w", spec.Name, err)
		}
		if lease == nil {
			if stamp, err = fence.StampOf(live); err != nil {
				return nil, fmt.Errorf("part %s: %w", spec.Name, err)
			}
			data = []byte(live[fieldData])
			asOf, until := fence.LifeOf(live)
			s.until = earlier(s.until, until)
			if spec.Own {
				s.asOf = earlier(s.asOf, asOf)
			}
			break
		}
		var ok bool
		stamp = lease.Stamp
		if data, ok, err = s.fetchPart(ctx, lease, spec); err != nil {
			return nil, fmt.Errorf("part %s: %w", spec.Name, err)
		}
		if ok {
			break
		}
	}
	s.used = append(s.used, fence.Used{Name: spec.Name, Stamp: stamp, Tags: tags})
	return data, nil
}

// fetchPart fetches a part and keeps it. ok is false if the fence refused: the
// part may be stale then, and the entry's own commit will say so.
func (s *session) fetchPart(ctx context.Context, l *fence.Lease, spec cache.PartSpec) ([]byte, bool, error) {
	data, err := spec.Fetch(ctx)
	if err != nil {
		if rerr := s.filler.release(ctx, l); rerr != nil {
			return nil, false, fmt.Errorf("%w (and %w)", err, rerr)
		}
		return nil, false, err
	}
	o, err := s.filler.Store.Commit(ctx, l, fence.Fill{
		Fields: []string{fieldData, string(data)}, Tags: spec.Tags, Life: spec.Life,
	})
	if err != nil { // it cannot be kept; the entry's own commit judges it all the same
		s.filler.Log.WarnContext(ctx, "commit", "provider", s.ref.Provider, "tenant", s.ref.Tenant,
			"part", spec.Name, "error", err)
		return data, true, s.filler.release(ctx, l)
	}
	return data, o.Refused == "", nil
}
