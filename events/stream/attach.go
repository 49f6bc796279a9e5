package stream

import (
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Attach looks at streams that a service has opened: it creates, alters and
// checks nothing. What it returns is for
// [Stream.Read], [Stream.Info], [Ledgers.All] and [Calls.Ask].
func Attach(nc *nats.Conn) (*Stream, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("attach to streams: %w", err)
	}
	return &Stream{nc: nc, js: js, log: slog.New(slog.DiscardHandler), replicas: 1}, nil
}
