package stream

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
)

// feedPause is the time between two writes for one feed.
const feedPause = time.Second

// Proofs writes down the last proof of life of each feed, and the last death if no
// proof came later, at most about one a second; those between are passed over.
type Proofs struct {
	s    *Stream
	wake chan struct{} // holds a token if something is due
	kv   jetstream.KeyValue

	mu   sync.Mutex
	last map[statement]events.Feed
	due  map[statement]bool
}

// statement is one of the two that a feed may have.
type statement struct {
	feedID
	died bool
}

func statementOf(f events.Feed) statement { return statement{idOf(f), !f.Died.IsZero()} }

// Proofs makes no call and starts nothing: what is noted is written by
// [Proofs.Run].
func (s *Stream) Proofs() *Proofs {
	return &Proofs{
		s: s, wake: make(chan struct{}, 1),
		last: map[statement]events.Feed{}, due: map[statement]bool{},
	}
}

// Note takes a proof or a death and never waits. A proof that is not later than the
// last one, a death before the last one, and one before the last proof change
// nothing; the last death noted again is written again, since the server keeps it
// for a day. It keeps one of each for each feed for good: note none but those that
// are configured.
func (p *Proofs) Note(f events.Feed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := statementOf(f)
	death := statement{id.feedID, true}
	proof, died := p.last[statement{id.feedID, false}].Proof, p.last[death].Died
	switch {
	case id.died && (f.Died.Before(died) || f.Died.Before(proof)):
		return
	case !id.died && !f.Proof.After(proof):
		return
	case !id.died && f.Proof.After(died): // so that is over
		delete(p.last, death)
		delete(p.due, death)
	}
	p.last[id], p.due[id] = f, true
	p.rouse()
}

// rouse lets Run look again.
func (p *Proofs) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run writes what is noted until ctx ends, then returns nil. What the server
// does not take is written later, and everything else with it: the bucket may
// have been lost. Nobody but Run waits for that.
func (p *Proofs) Run(ctx context.Context) error {
	for trouble := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		}
		err := p.write(ctx)
		if err != nil {
			p.again()
		}
		if ctx.Err() == nil && (err != nil) != trouble {
			trouble = err != nil
			p.report(ctx, err)
		}
		if !pause(ctx, feedPause) {
			return nil
		}
	}
}

func (p *Proofs) report(ctx context.Context, err error) {
	if err != nil {
		p.s.log.WarnContext(ctx, "proofs of life cannot be written, tried again", "error", err)
		return
	}
	p.s.log.InfoContext(ctx, "proofs of life are written again")
}

// write writes what is due, up to the first that the server does not take.
func (p *Proofs) write(ctx context.Context) (err error) {
	if p.kv == nil {
		if p.kv, err = p.s.feedBucket(ctx); err != nil {
			return err
		}
	}
	for _, f := range p.take() {
		b, err := events.EncodeFeed(f)
		if err != nil {
			p.s.log.WarnContext(ctx, "proof of life", "error", err)
			continue
		}
		if err := p.put(ctx, feedKey(f), b); err != nil {
			return err
		}
	}
	return nil
}

func (p *Proofs) put(ctx context.Context, key string, b []byte) error {
	ctx, cancel := context.WithTimeout(ctx, feedLimit)
	defer cancel()
	if _, err := p.kv.Put(ctx, key, b); err != nil {
		return fmt.Errorf("bucket %s: %w", FeedBucket, err)
	}
	return nil
}

// take returns what is due and forgets that it was.
func (p *Proofs) take() (feeds []events.Feed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.due {
		feeds = append(feeds, p.last[id])
	}
	clear(p.due)
	return feeds
}

// again makes all that is known due, and lets the bucket be opened anew.
func (p *Proofs) again() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kv = nil
	for id := range p.last {
		p.due[id] = true
	}
	p.rouse()
}
