package listen

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

const (
	// DefaultMaxBody holds a notice of 10,000 extensions several times over.
	DefaultMaxBody = 4 << 20
	// DefaultPublishWait leaves half of the 3 s within which RingCentral wants
	// its answer (creating-webhooks.md).
	DefaultPublishWait = 1500 * time.Millisecond

	prefix  = "/hooks/"
	minPart = 22 // characters: 128 bits in base64
)

// Publisher is what the door needs of the stream.
type Publisher interface {
	// Publish returns once the change is stored, with duplicate if it was stored
	// before. After an error it may be stored or not.
	Publish(ctx context.Context, c events.Change) (duplicate bool, err error)
}

// Door is where the deliveries of one tenant come in.
type Door struct {
	Home events.Home
	// Path is the unguessable part of the address, see
	// [subscriptions.AddressPart]: at least 22 of A-Z, a-z, 0-9, "-" and "_".
	Path string
	Door subscriptions.Door
}

// Config says which doors there are and where their changes go.
type Config struct {
	Doors     []Door
	Publisher Publisher
	// MaxBody, in bytes, is the largest body that is read; default
	// [DefaultMaxBody].
	MaxBody int64
	// PublishWait bounds the wait for the stream; default [DefaultPublishWait].
	PublishWait time.Duration
	// Secrets, if set, gives those that a home's deliveries may bear, where each
	// registration has its own; it must not wait.
	Secrets func(events.Home) []subscriptions.Secret
	// Heard, if set, is told of every delivery that proves its feed alive, and who
	// sent it; Missed of every change that was refused because it could not be stored.
	// Both after the answer; neither may wait.
	Heard  func(h events.Home, from subscriptions.Origin, at time.Time)
	Missed func(h events.Home, at time.Time)
	// Registerer takes the metrics; nil: nobody does.
	Registerer prometheus.Registerer
	Log        *slog.Logger
}

// Address is the URL to register at the provider: publicURL, which is where the
// listener is reached from outside, with /hooks/<provider>/<part>.
func Address(publicURL string, h events.Home, part string) string {
	return strings.TrimRight(publicURL, "/") + prefix + events.Escape(string(h.Provider)) + "/" + part
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Handler, error) {
	if cfg.Publisher == nil || cfg.Log == nil {
		return nil, errors.New("listen: Publisher and Log must be given")
	}
	if cfg.MaxBody < 0 || cfg.PublishWait < 0 {
		return nil, errors.New("listen: MaxBody and PublishWait must not be negative")
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = DefaultMaxBody
	}
	if cfg.PublishWait == 0 {
		cfg.PublishWait = DefaultPublishWait
	}
	doors, err := hang(cfg.Doors)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	m, err := newMetrics(cfg.Registerer, cfg.Doors)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return &Handler{cfg: cfg, doors: doors, metrics: m}, nil
}

// keyed is a door with the digest of its path.
type keyed struct {
	Door
	digest [sha256.Size]byte
}

// hang checks the doors, and that each can be told from the others.
func hang(doors []Door) ([]keyed, error) {
	var out []keyed
	homes := map[events.Home]bool{}
	for _, d := range doors {
		if err := d.check(); err != nil {
			return nil, err
		}
		if homes[d.Home] {
			return nil, fmt.Errorf("door %s: there are two", d.Home)
		}
		homes[d.Home] = true
		k := keyed{d, sha256.Sum256([]byte(prefix + string(d.Home.Provider) + "/" + d.Path))}
		for _, other := range out {
			if other.digest == k.digest {
				return nil, fmt.Errorf("doors %s and %s: same Path", other.Home, d.Home)
			}
		}
		out = append(out, k)
	}
	return out, nil
}

// check does not repeat the part: it is half a secret.
func (d Door) check() error {
	if err := d.Home.Validate(); err != nil {
		return fmt.Errorf("door: %w", err)
	}
	if d.Door == nil {
		return fmt.Errorf("door %s: no Door", d.Home)
	}
	if len(d.Path) < minPart || events.Escape(d.Path) != d.Path {
		return fmt.Errorf("door %s: Path must be at least %d of A-Z, a-z, 0-9, - and _", d.Home, minPart)
	}
	return nil
}
