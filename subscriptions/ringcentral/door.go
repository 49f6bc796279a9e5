package ringcentral

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

// The headers of a delivery, and the longest token that is echoed: the whole
// response must stay within 1,024 bytes (creating-webhooks.md).
const (
	headerValidation   = "Validation-Token"
	headerVerification = "Verification-Token"
	maxValidation      = 512
)

// Verify accepts a plain handshake (Validation-Token, no body) at the address,
// and anything else only with a right Verification-Token. Validation-Token is
// echoed wherever it stands and is never a reason to drop a notification. One
// page (receiving.md since December 2023) has the notifications' secret in
// Validation-Token: so it is read there if the other header is missing.
func (p *Provider) Verify(d subscriptions.Delivery) (subscriptions.Reply, error) {
	if d.Home != p.home {
		return subscriptions.Reply{}, fmt.Errorf("%w: not this tenant's address", subscriptions.ErrRefused)
	}
	validation := d.Header.Get(headerValidation)
	if len(validation) > maxValidation || !printable(validation) {
		return subscriptions.Reply{}, fmt.Errorf("%w: %s of %d bytes cannot be echoed",
			subscriptions.ErrUnreadable, headerValidation, len(validation))
	}
	given := d.Header.Get(headerVerification)
	handshake := validation != "" && given == "" && len(d.Body) == 0
	if given == "" && !handshake {
		given = validation
	}
	if !handshake && !p.knows(given, d.Secrets) {
		return subscriptions.Reply{}, fmt.Errorf("%w: wrong or no %s", subscriptions.ErrRefused, headerVerification)
	}
	if validation == "" || p.knows(validation, d.Secrets) { // a secret is not echoed
		return subscriptions.Reply{}, nil
	}
	// Without a JSON content type the registration may fail with SUB-525.
	return subscriptions.Reply{Header: map[string]string{
		headerValidation: validation, "Content-Type": "application/json",
	}}, nil
}

// knows compares with every token, whichever fits, in constant time.
func (p *Provider) knows(given string, own []subscriptions.Secret) bool {
	found := false
	for _, t := range slices.Concat(p.cfg.VerificationTokens, own) {
		found = t.Equal(given) || found
	}
	return found
}

// Origin is the subscription that a notification names. None says that it is
// over: a reminder comes while there is time left, and the end comes in silence.
// It reads only as far as the id, which the vendor puts before the body.
func (p *Provider) Origin(d subscriptions.Delivery) subscriptions.Origin {
	read := json.NewDecoder(bytes.NewReader(d.Body))
	if brace, err := read.Token(); err != nil || brace != json.Delim('{') {
		return subscriptions.Origin{}
	}
	for {
		name, err := read.Token()
		if err != nil || name == json.Delim('}') {
			return subscriptions.Origin{}
		}
		var sender id
		if name == "subscriptionId" {
			if read.Decode(&sender) != nil || events.CheckID(string(sender)) != nil {
				return subscriptions.Origin{}
			}
			return subscriptions.Origin{Subscription: string(sender)}
		}
		if read.Decode(new(json.RawMessage)) != nil {
			return subscriptions.Origin{}
		}
	}
}
