package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// How a connection is kept.
const (
	connectLimit  = 10 * time.Second // of the first connect, if ctx has no deadline
	dialLimit     = 2 * time.Second  // of one attempt
	connectRetry  = 200 * time.Millisecond
	reconnectWait = 250 * time.Millisecond
	pingInterval  = 3 * time.Second // a line that was cut silently is noticed in two to three of these
)

// ConnectOptions say where the server is and who we are.
type ConnectOptions struct {
	// URL is one address or several with commas between; nats.DefaultURL if
	// empty.
	URL string
	// Name is shown in the server's list of connections.
	Name string
	// CredentialsFile is a .creds file; or User and Password; or Token. Give one
	// of the three at most.
	CredentialsFile string
	User, Password  string
	Token           string
	// CAFile holds the authorities, in PEM, that sign the server's certificate;
	// it makes TLS a must.
	CAFile string
	// Log receives a line at every disconnect and reconnect; nil discards them.
	Log *slog.Logger
}

// Connect tries until the server answers, it refuses the credentials, or ctx
// ends, at most 10 s if ctx has no deadline. From then on the connection is
// renewed for ever, with jitter, whatever the server says. No error or log
// line holds a secret.
func Connect(ctx context.Context, o ConnectOptions) (*nats.Conn, error) {
	if o.URL == "" {
		o.URL = nats.DefaultURL
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	shown, err := redactURL(o.URL)
	if err != nil {
		return nil, fmt.Errorf("connect to nats: %w", err)
	}
	opts, err := o.natsOptions()
	if err != nil {
		return nil, fmt.Errorf("connect to nats: %w", err)
	}
	ctx, cancel := bounded(ctx, connectLimit)
	defer cancel()
	nc, err := dial(ctx, o.URL, opts)
	if err != nil {
		return nil, fmt.Errorf("connect to nats at %s: %w", shown, err)
	}
	return nc, nil
}

func dial(ctx context.Context, url string, opts []nats.Option) (*nats.Conn, error) {
	for {
		nc, err := nats.Connect(url, append(opts, nats.Timeout(attemptLimit(ctx)))...)
		if err == nil {
			return nc, nil
		}
		if errors.Is(err, nats.ErrAuthorization) || !pause(ctx, connectRetry) {
			return nil, err
		}
	}
}

func attemptLimit(ctx context.Context) time.Duration {
	deadline, _ := ctx.Deadline()
	return max(min(dialLimit, time.Until(deadline)), time.Millisecond)
}

func (o ConnectOptions) natsOptions() ([]nats.Option, error) {
	opts := []nats.Option{
		nats.Name(o.Name), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, 2*reconnectWait), nats.PingInterval(pingInterval),
		// Otherwise two refusals in a row close the connection for good.
		nats.IgnoreAuthErrorAbort(),
	}
	ways := 0
	if o.CredentialsFile != "" {
		opts, ways = append(opts, nats.UserCredentials(o.CredentialsFile)), ways+1
	}
	if o.User != "" || o.Password != "" {
		opts, ways = append(opts, nats.UserInfo(o.User, o.Password)), ways+1
	}
	if o.Token != "" {
		opts, ways = append(opts, nats.Token(o.Token)), ways+1
	}
	if ways > 1 {
		return nil, errors.New("give one of credentials file, user and password, token")
	}
	if o.CAFile != "" {
		opts = append(opts, nats.RootCAs(o.CAFile))
	}
	return append(opts, logging(o.Log.With("part", "nats"))...), nil
}

func logging(log *slog.Logger) []nats.Option {
	return []nats.Option{
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("disconnected", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("reconnected", "server", nc.ConnectedUrlRedacted())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			log.Warn("connection error", "error", err, "subject", subject)
		}),
	}
}

// redactURL is the list of addresses without passwords and tokens. Its error
// does not repeat what could not be read.
func redactURL(list string) (string, error) {
	parts := strings.Split(list, ",")
	for i, part := range parts {
		part = strings.TrimSpace(part)
		if !strings.Contains(part, "://") {
			part = "nats://" + part
		}
		u, err := url.Parse(part)
		if err != nil || u.Host == "" {
			return "", fmt.Errorf("address %d of %d is not a URL", i+1, len(parts))
		}
		u.User, u.Path, u.RawQuery, u.Fragment = nil, "", "", ""
		parts[i] = u.String()
	}
	return strings.Join(parts, ","), nil
}

// bounded gives ctx a deadline if it has none.
func bounded(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, limit)
}

// pause waits and says whether ctx is still going.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
