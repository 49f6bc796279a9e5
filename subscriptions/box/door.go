package box

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
)

// The headers of a delivery (guides/webhooks/v2/index).
const (
	headerTimestamp = "Box-Delivery-Timestamp"
	headerVersion   = "Box-Signature-Version"
	headerAlgorithm = "Box-Signature-Algorithm"
	headerPrimary   = "Box-Signature-Primary"
	headerSecondary = "Box-Signature-Secondary"
)

const (
	// maxAge of a delivery is the vendor's rule (guides/webhooks/v2/signatures-v2);
	// maxAhead allows for clocks that differ.
	maxAge   = 10 * time.Minute
	maxAhead = 30 * time.Second
)

// Verify accepts a delivery that was signed with one of the two keys, each under
// its own header, not longer ago than 10 min and not later than 30 s from now.
// What is signed is the body as it came, then the timestamp as it came.
func (p *Provider) Verify(d subscriptions.Delivery) (subscriptions.Reply, error) {
	if d.Home != p.home {
		return subscriptions.Reply{}, refused("not this tenant's address")
	}
	if d.Header.Get(headerVersion) != "1" || d.Header.Get(headerAlgorithm) != "HmacSHA256" {
		return subscriptions.Reply{}, refused("signature of another version or algorithm")
	}
	stamp := d.Header.Get(headerTimestamp)
	first := signed(p.cfg.SignatureKey, d.Body, stamp, d.Header.Get(headerPrimary))
	second := signed(p.cfg.SignatureKey2, d.Body, stamp, d.Header.Get(headerSecondary))
	if !first && !second {
		return subscriptions.Reply{}, refused("no right signature")
	}
	at, err := time.Parse(time.RFC3339, stamp)
	if err != nil {
		return subscriptions.Reply{}, refused("timestamp cannot be read")
	}
	if age := d.Received.Sub(at); age > maxAge || age < -maxAhead {
		return subscriptions.Reply{}, refused("timestamp too old, or in the future")
	}
	return subscriptions.Reply{}, nil
}

func refused(why string) error { return fmt.Errorf("%w: %s", subscriptions.ErrRefused, why) }

// signed compares the texts, not what they decode to, so that a signature has one
// form. Without a key nothing is signed.
func signed(key subscriptions.Secret, body []byte, stamp, signature string) bool {
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	mac.Write(body)
	mac.Write([]byte(stamp))
	want := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return hmac.Equal([]byte(want), []byte(signature)) && !key.Empty()
}

// Origin is the webhook that sent it. It is over if Box says that it has deleted it,
// or that the session it was made with is; then what follows tells nothing, and only
// a new one helps.
func (p *Provider) Origin(d subscriptions.Delivery) subscriptions.Origin {
	var n notice
	if json.Unmarshal(d.Body, &n) != nil {
		return subscriptions.Origin{}
	}
	return subscriptions.Origin{Subscription: n.sender(), Over: n.over()}
}
