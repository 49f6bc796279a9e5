package box_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/box"
)

// vector is one of the public tests of the vendor's SDKs: testdata names each
// one's source.
type vector struct {
	Name    string
	Body    []byte `json:"body_base64"`
	Headers map[string]string
	Primary string `json:"primary_key"`
	Second  string `json:"secondary_key"`
	Valid   bool   `json:"expect_signature_valid"`
}

func vectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "signature-vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Vectors []vector }
	if err := json.Unmarshal(b, &all); err != nil || len(all.Vectors) == 0 {
		t.Fatalf("%d vectors, error %v", len(all.Vectors), err)
	}
	return all.Vectors
}

// keyed is a provider with these keys; one of them may be empty.
func keyed(t testing.TB, primary, second string) *world {
	t.Helper()
	c := testConfig()
	c.SignatureKey, c.SignatureKey2 = subscriptions.NewSecret(primary), subscriptions.NewSecret(second)
	return open(t, c)
}

// delivery is the vector's, come a minute after it was sent.
func (v vector) delivery(t testing.TB) subscriptions.Delivery {
	t.Helper()
	at, err := time.Parse(time.RFC3339, v.Headers["box-delivery-timestamp"])
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	for name, value := range v.Headers {
		h.Set(name, value)
	}
	return subscriptions.Delivery{Home: home, Header: h, Body: v.Body, Received: at.Add(time.Minute)}
}

func TestVectorsOfTheSDKs(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			_, err := keyed(t, v.Primary, v.Second).Verify(v.delivery(t))
			if (err == nil) != v.Valid || err != nil && !errors.Is(err, subscriptions.ErrRefused) {
				t.Errorf("error %v, want valid %t", err, v.Valid)
			}
		})
	}
}

// TestEveryBitCounts flips each bit of what is signed, and of the signature where
// there is but one.
func TestEveryBitCounts(t *testing.T) {
	for _, v := range vectors(t) {
		if !v.Valid || v.Second != "" {
			continue
		}
		p, d := keyed(t, v.Primary, ""), v.delivery(t)
		for n := range len(d.Body) * 8 {
			d.Body[n/8] ^= 1 << (n % 8)
			if _, err := p.Verify(d); !errors.Is(err, subscriptions.ErrRefused) {
				t.Errorf("bit %d of the body: %v", n, err)
			}
			d.Body[n/8] ^= 1 << (n % 8)
		}
		for _, name := range []string{"Box-Delivery-Timestamp", "Box-Signature-Primary"} {
			whole := d.Header.Get(name)
			for n := range len(whole) * 8 {
				flipped := []byte(whole)
				flipped[n/8] ^= 1 << (n % 8)
				d.Header.Set(name, string(flipped))
				if _, err := p.Verify(d); !errors.Is(err, subscriptions.ErrRefused) {
					t.Errorf("bit %d of %s: %v", n, name, err)
				}
			}
			d.Header.Set(name, whole)
		}
		if _, err := p.Verify(d); err != nil {
			t.Errorf("as it was: %v", err)
		}
	}
}

func sign(key, body, stamp string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(body + stamp))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// sent is a delivery signed with two keys, of which one may be empty, at a time.
func sent(body, primary, second string, at time.Time) subscriptions.Delivery {
	stamp := at.Format(time.RFC3339)
	h := http.Header{}
	h.Set("BOX-DELIVERY-TIMESTAMP", stamp)
	h.Set("BOX-SIGNATURE-VERSION", "1")
	h.Set("BOX-SIGNATURE-ALGORITHM", "HmacSHA256")
	if primary != "" {
		h.Set("BOX-SIGNATURE-PRIMARY", sign(primary, body, stamp))
	}
	if second != "" {
		h.Set("BOX-SIGNATURE-SECONDARY", sign(second, body, stamp))
	}
	return subscriptions.Delivery{Home: home, Header: h, Body: []byte(body), Received: time.Now()}
}

func TestVerify(t *testing.T) {
	now := time.Now()
	west := time.FixedZone("", -7*3600)
	for name, c := range map[string]struct {
		primary, second string // with which it is signed
		ourOne, ourTwo  string
		at              time.Time
		spoil           func(*subscriptions.Delivery)
		ok              bool
	}{
		"both keys": {primary: "a", second: "b", ourOne: "a", ourTwo: "b", at: now, ok: true},
		"another time zone": {primary: "a", second: "b", ourOne: "a", ourTwo: "b", at: now.In(west),
			ok: true},
		"primary was reset":            {primary: "new", second: "b", ourOne: "a", ourTwo: "b", at: now, ok: true},
		"secondary was reset":          {primary: "a", second: "new", ourOne: "a", ourTwo: "b", at: now, ok: true},
		"both were reset":              {primary: "new", second: "new", ourOne: "a", ourTwo: "b", at: now},
		"we have one":                  {primary: "a", second: "b", ourOne: "a", at: now, ok: true},
		"we have the other":            {primary: "a", second: "b", ourTwo: "b", at: now, ok: true},
		"Box has one":                  {primary: "a", ourOne: "a", ourTwo: "b", at: now, ok: true},
		"Box has none":                 {ourOne: "a", ourTwo: "b", at: now},
		"keys crossed":                 {primary: "b", second: "a", ourOne: "a", ourTwo: "b", at: now},
		"signed with no key, and ours": {primary: "", second: "", ourOne: "a", at: now, spoil: signEmpty},
		"9 min old":                    {primary: "a", ourOne: "a", at: now.Add(-9 * time.Minute), ok: true},
		"11 min old":                   {primary: "a", ourOne: "a", at: now.Add(-11 * time.Minute)},
		"20 s ahead":                   {primary: "a", ourOne: "a", at: now.Add(20 * time.Second), ok: true},
		"40 s ahead":                   {primary: "a", ourOne: "a", at: now.Add(40 * time.Second)},
		"another tenant's address": {primary: "a", ourOne: "a", at: now,
			spoil: func(d *subscriptions.Delivery) { d.Tenant = "988" }},
		"another version": {primary: "a", ourOne: "a", at: now,
			spoil: func(d *subscriptions.Delivery) { d.Header.Set("Box-Signature-Version", "2") }},
		"another algorithm": {primary: "a", ourOne: "a", at: now,
			spoil: func(d *subscriptions.Delivery) { d.Header.Set("Box-Signature-Algorithm", "HmacSHA1") }},
		"nothing at all": {ourOne: "a", at: now, spoil: func(d *subscriptions.Delivery) { d.Header = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			d := sent(`{"name":"a\/\u00fc"}`, c.primary, c.second, c.at)
			if c.spoil != nil {
				c.spoil(&d)
			}
			reply, err := keyed(t, c.ourOne, c.ourTwo).Verify(d)
			if (err == nil) != c.ok || err != nil && !errors.Is(err, subscriptions.ErrRefused) {
				t.Errorf("error %v, want ok %t", err, c.ok)
			}
			if len(reply.Header) != 0 {
				t.Errorf("answered with %v", reply.Header)
			}
		})
	}
}

// signEmpty signs with the empty key, which anybody has.
func signEmpty(d *subscriptions.Delivery) {
	stamp := d.Header.Get("Box-Delivery-Timestamp")
	d.Header.Set("Box-Signature-Secondary", sign("", string(d.Body), stamp))
}

func TestAStampThatIsNoTimeIsRefused(t *testing.T) {
	d := sent("{}", "a", "", time.Now())
	d.Header.Set("Box-Delivery-Timestamp", "yesterday")
	d.Header.Set("Box-Signature-Primary", sign("a", "{}", "yesterday"))
	if _, err := keyed(t, "a", "").Verify(d); !errors.Is(err, subscriptions.ErrRefused) {
		t.Errorf("error %v", err)
	}
}

// TestTheVendorsVerifierAgrees asks box-node-sdk, if it is there to be asked: say
// where with NODE_PATH.
func TestTheVendorsVerifierAgrees(t *testing.T) {
	const script = `
const {validateWebhookMessage} = require('box-node-sdk');
let all = '';
process.stdin.on('data', d => all += d).on('end', () => console.log(JSON.stringify(JSON.parse(all).map(
  v => validateWebhookMessage(v.body, v.headers, v.one, v.two || undefined, 1e10)))));`
	if err := exec.CommandContext(t.Context(), "node", "-e",
		"if (!require('box-node-sdk').validateWebhookMessage) throw 0").Run(); err != nil {
		t.Skip("no node with a box-node-sdk of the 3.x line: ", err)
	}
	var questions []map[string]any
	var ours []bool
	for _, v := range vectors(t) {
		_, err := keyed(t, v.Primary, v.Second).Verify(v.delivery(t))
		ours = append(ours, err == nil)
		questions = append(questions, map[string]any{"body": string(v.Body), "headers": v.Headers,
			"one": v.Primary, "two": v.Second})
	}
	in, err := json.Marshal(questions)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "-e", script)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var theirs []bool
	if err := json.Unmarshal(out, &theirs); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("valid or not (-Box's verifier +ours):\n%s", diff)
	}
}

func TestOrigin(t *testing.T) {
	p := open(t, testConfig())
	for name, c := range map[string]struct {
		text string
		want subscriptions.Origin
	}{
		"a delivery": {body("FILE.LOCKED", wholeFile, `[]`), subscriptions.Origin{Subscription: "53"}},
		"an id that is a number": {`{"trigger":"A","webhook":{"id":53}}`,
			subscriptions.Origin{Subscription: "53"}},
		"the whole webhook": {`{"trigger":"A","webhook":` + hookText("53", "11", "https://a.example") + `}`,
			subscriptions.Origin{Subscription: "53"}},
		"deleted": {body("WEBHOOK.DELETED", `null`, `{"reason":"auto_cleanup"}`),
			subscriptions.Origin{Subscription: "53", Over: true}},
		"without a session": {body("NO_ACTIVE_SESSION", `null`, `[]`),
			subscriptions.Origin{Subscription: "53", Over: true}},
		"deleted, but which":    {`{"trigger":"WEBHOOK.DELETED"}`, subscriptions.Origin{Over: true}},
		"no webhook":            {`{"trigger":"A","webhook":null}`, subscriptions.Origin{}},
		"a webhook that is not": {`{"trigger":"A","webhook":"53"}`, subscriptions.Origin{}},
		"an id that is none": {`{"trigger":"A","webhook":{"id":"` + strings.Repeat("5", 9999) + `"}}`,
			subscriptions.Origin{}},
		"an id that is a list": {`{"trigger":"A","webhook":{"id":[53]}}`, subscriptions.Origin{}},
		"no JSON":              {`{"trigger":`, subscriptions.Origin{}},
		"nothing":              {``, subscriptions.Origin{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := p.Origin(subscriptions.Delivery{Home: home, Body: []byte(c.text)})
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	for _, v := range vectors(f) {
		h := v.Headers
		f.Add(v.Body, h["box-delivery-timestamp"], h["box-signature-primary"], h["box-signature-version"])
	}
	p := keyed(f, keyOne, keyTwo)
	f.Fuzz(func(t *testing.T, body []byte, stamp, signature, version string) {
		h := http.Header{}
		h.Set("Box-Delivery-Timestamp", stamp)
		h.Set("Box-Signature-Version", version)
		h.Set("Box-Signature-Algorithm", "HmacSHA256")
		h.Set("Box-Signature-Primary", signature)
		h.Set("Box-Signature-Secondary", signature)
		d := subscriptions.Delivery{Home: home, Header: h, Body: body, Received: time.Now()}
		if _, err := p.Verify(d); !errors.Is(err, subscriptions.ErrRefused) {
			t.Errorf("error %v for what nobody signed", err)
		}
	})
}

var _ subscriptions.Door = (*box.Provider)(nil)
