package boxsim

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// longestAssertion is how far ahead the exp of a JWT may be.
const longestAssertion = 60 * time.Second

type claims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Kind     string `json:"box_sub_type"`
	Audience string `json:"aud"`
	ID       string `json:"jti"`
	Expires  int64  `json:"exp"`
}

// assertion reads the claims of a JWT, whose signature is not looked at, and says whom it is for.
func (c *call) assertion(a *App, text string) (kind, id string, err error) {
	var k claims
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return "", "", errGrant("Please check the 'assertion'")
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(data, &k) != nil {
		return "", "", errGrant("Please check the 'assertion'")
	}
	left := time.Until(time.Unix(k.Expires, 0))
	switch {
	case k.Issuer != a.ClientID:
		return "", "", errGrant("Please check the 'iss' claim.")
	case !strings.HasSuffix(k.Audience, "/oauth2/token"):
		return "", "", errGrant("Please check the 'aud' claim.")
	case left <= 0 || left > longestAssertion:
		return "", "", errGrant("Please check the 'exp' claim.")
	case len(k.ID) < 16 || len(k.ID) > 128:
		return "", "", errGrant("Please check the 'jti' claim.")
	case c.s.jtis[k.ID]:
		return "", "", errGrant("Please check the 'jti' claim. A unique 'jti' value is required.")
	}
	c.s.jtis[k.ID] = true
	return k.Kind, k.Subject, nil
}
