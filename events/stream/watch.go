package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
)

const (
	// watchCheck is how often a watch looks whether the bucket is still the one that
	// it watches.
	watchCheck = 2 * time.Second
	// watchLife is how long it goes on before it is made anew, whether or not it seems
	// to work.
	watchLife = 5 * time.Minute
)

// Watch calls for every value that is there, then for every change, until ctx ends;
// then it returns nil. The value is nil if somebody deleted it. It calls one at a
// time, in their order.
//
// A restart of the server, an outage, and the loss of the bucket are waited out;
// a bucket that is lost is created. After each of them, and every 5 min, it calls for
// all that is there once more. What was lost with the bucket nobody deleted: of
// that it tells nothing until it is written again, maybe under a lower revision.
func (l *Ledgers) Watch(ctx context.Context, call func(h events.Home, value []byte, revision uint64)) error {
	for trouble := false; ; {
		err := l.follow(ctx, call)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !trouble {
			l.s.log.WarnContext(ctx, "ledgers cannot be followed, tried again", "error", err)
		}
		trouble = err != nil
		if trouble && !pause(ctx, connectRetry) {
			return nil
		}
	}
}

// follow watches for a while: until the connection was renewed, the bucket is
// another, or the watch is old.
func (l *Ledgers) follow(ctx context.Context, call func(events.Home, []byte, uint64)) error {
	ctx, cancel := context.WithTimeout(ctx, watchLife)
	defer cancel()
	connected := l.s.nc.Stats().Reconnects
	kv, created, err := l.open(ctx)
	if err != nil {
		return err
	}
	setup := time.AfterFunc(vaultLimit, cancel) // the library bounds it by the whole life
	w, err := kv.Watch(ctx, allLedgers)
	setup.Stop()
	if err != nil {
		return fmt.Errorf("watch ledgers: %w", err)
	}
	defer stopWatch(w)
	check := time.NewTicker(watchCheck)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-check.C:
			if l.s.nc.Stats().Reconnects != connected || l.lost(ctx, kv, created) {
				return nil
			}
		case e, ok := <-w.Updates():
			if !ok {
				return fmt.Errorf("watch ledgers: %w", errWatchEnded)
			}
			if e != nil { // which says that these were all
				l.tell(e, call)
			}
		}
	}
}

// open returns the bucket and when it was created.
func (l *Ledgers) open(ctx context.Context) (jetstream.KeyValue, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, vaultLimit)
	defer cancel()
	kv, err := l.s.bucket(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	created, err := createdAt(ctx, kv)
	return kv, created, wrap("bucket "+Bucket, err)
}

func createdAt(ctx context.Context, kv jetstream.KeyValue) (time.Time, error) {
	status, err := kv.Status(ctx)
	if err != nil {
		return time.Time{}, err
	}
	b, ok := status.(*jetstream.KeyValueBucketStatus)
	if !ok {
		return time.Time{}, fmt.Errorf("status is a %T", status)
	}
	return b.StreamInfo().Created, nil
}

// lost says whether the bucket is no more, or another: a watch would wait for a
// sequence that is far away. No answer says nothing.
func (l *Ledgers) lost(ctx context.Context, kv jetstream.KeyValue, created time.Time) bool {
	ctx, cancel := context.WithTimeout(ctx, vaultLimit)
	defer cancel()
	at, err := createdAt(ctx, kv)
	if err != nil {
		return errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrBucketNotFound)
	}
	return !at.Equal(created)
}

func (l *Ledgers) tell(e jetstream.KeyValueEntry, call func(events.Home, []byte, uint64)) {
	h, err := homeOfLedger(e.Key())
	if err != nil {
		l.s.log.Debug("ledger", "key", e.Key(), "error", err)
		return
	}
	if e.Operation() != jetstream.KeyValuePut {
		call(h, nil, e.Revision())
		return
	}
	call(h, append([]byte{}, e.Value()...), e.Revision()) // an empty one is not nil
}
