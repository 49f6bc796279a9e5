package providertest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
)

// toyVendor is a vendor with one resource, which signs what it delivers.
type toyVendor struct {
	*http.ServeMux
	deliver http.RoundTripper

	mu     sync.Mutex
	calls  int
	minted int
	alive  map[string]bool
	rights map[string][]string
	hooks  map[string]string // id: address
	signs  map[string]string // id: secret
	last   int
	events []string // subjects
}

const (
	toyKey    = "hunter2-toy-key"
	toySecret = "hunter2-toy-client"
)

func newToyVendor(deliver http.RoundTripper) *toyVendor {
	v := &toyVendor{ServeMux: http.NewServeMux(), deliver: deliver, alive: map[string]bool{},
		rights: map[string][]string{"1": {"look", "touch"}, "2": {"look"}}, hooks: map[string]string{},
		signs: map[string]string{}}
	v.HandleFunc("POST /oauth/token", v.token)
	v.HandleFunc("GET /rights/{subject}", v.right)
	v.HandleFunc("GET /events", v.since)
	v.HandleFunc("GET /hooks", v.list)
	v.HandleFunc("POST /hooks", v.create)
	v.HandleFunc("PUT /hooks/{id}", v.renew)
	v.HandleFunc("DELETE /hooks/{id}", v.remove)
	return v
}

func (v *toyVendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls++
	bearer := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if r.URL.Path != "/oauth/token" && !v.alive[bearer] {
		status(401, `{"code":"dead"}`)(w, r)
		return
	}
	v.ServeMux.ServeHTTP(w, r)
}

func (v *toyVendor) token(w http.ResponseWriter, _ *http.Request) {
	v.minted++
	token := fmt.Sprintf("toy-access-token-%d", v.minted)
	v.alive[token] = true
	say(w, map[string]any{"access_token": token, "token_type": "bearer", "expires_in": 3600, "scope": "all"})
}

func (v *toyVendor) right(w http.ResponseWriter, r *http.Request) {
	rights, ok := v.rights[r.PathValue("subject")]
	if !ok {
		status(404, `{"code":"not_found"}`)(w, r)
		return
	}
	say(w, map[string]any{"rights": rights})
}

func (v *toyVendor) since(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil {
		n = len(v.events)
	}
	after := append([]string{}, v.events[min(n, len(v.events)):]...)
	say(w, map[string]any{"events": after, "next": len(v.events)})
}

func (v *toyVendor) list(w http.ResponseWriter, _ *http.Request) {
	say(w, map[string]any{"hooks": v.hooks})
}

func (v *toyVendor) create(w http.ResponseWriter, r *http.Request) {
	var body struct{ Address, Secret string }
	if json.NewDecoder(r.Body).Decode(&body) != nil {
		status(400, `{"code":"bad"}`)(w, r)
		return
	}
	v.last++
	v.hooks[fmt.Sprint(v.last)], v.signs[fmt.Sprint(v.last)] = body.Address, body.Secret
	say(w, map[string]any{"id": fmt.Sprint(v.last)})
}

func (v *toyVendor) renew(w http.ResponseWriter, r *http.Request) {
	if _, ok := v.hooks[r.PathValue("id")]; !ok {
		status(404, `{"code":"not_found"}`)(w, r)
		return
	}
	say(w, map[string]any{"id": r.PathValue("id")})
}

func (v *toyVendor) remove(w http.ResponseWriter, r *http.Request) {
	if _, ok := v.hooks[r.PathValue("id")]; !ok {
		status(404, `{"code":"not_found"}`)(w, r)
		return
	}
	delete(v.hooks, r.PathValue("id"))
	delete(v.signs, r.PathValue("id"))
	w.WriteHeader(http.StatusNoContent)
}

func say(w http.ResponseWriter, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // into memory
}

func (v *toyVendor) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.calls
}

func (v *toyVendor) kill() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.alive)
}

func (v *toyVendor) revoke() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rights["1"] = []string{"look"}
	return nil
}

func (v *toyVendor) change(int) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.events = append(v.events, "1")
	return nil
}

// trigger delivers at once, by each hook.
func (v *toyVendor) trigger(n int) error {
	v.mu.Lock()
	signs := maps.Clone(v.signs)
	v.mu.Unlock()
	for id, secret := range signs {
		body := fmt.Appendf(nil, `{"id":"n-%d","subject":"1","hook":"%s"}`, n, id)
		if err := v.send(body, secret); err != nil {
			return err
		}
	}
	return nil
}

func (v *toyVendor) send(body []byte, secret string) error {
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("X-Stamp", stamp)
	r.Header.Set("X-Signature", toySign(body, stamp, secret))
	resp, err := v.deliver.RoundTrip(r)
	if err == nil && resp.StatusCode != 200 {
		err = errors.New("the delivery was refused")
	}
	return err
}

func toySign(body []byte, stamp, secret string) string {
	mac := hmac.New(sha256.New, []byte(toyKey+secret))
	mac.Write(body)
	mac.Write([]byte(stamp))
	return hex.EncodeToString(mac.Sum(nil))
}

var errToy = fmt.Errorf("%w: toy", subscriptions.ErrUnreadable)
