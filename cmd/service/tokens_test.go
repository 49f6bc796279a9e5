package service_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cache/ask"
	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/sim/boxsim"
)

// boxed is a world with a simulated Box beside.
type boxed struct {
	*world
	box *boxsim.Box
	url string
}

var enterprise = events.Home{Provider: "box", Tenant: "987"}

func startBoxed(t *testing.T) *boxed {
	t.Helper()
	b := newBoxed(t, func(*config.Config) {})
	b.worker = b.startWorker()
	return b
}

// newBoxed starts neither listener nor worker.
func newBoxed(t *testing.T, edit func(*config.Config)) *boxed {
	t.Helper()
	b := &boxed{box: boxsim.New(boxsim.Options{})}
	server := httptest.NewServer(b.box)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := b.box.Close(ctx); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	b.url = server.URL
	secret := subscriptions.NewSecret
	b.world = startWorld(t, options{idle: true, edit: func(c *config.Config) {
		c.Providers = append(c.Providers, config.Provider{
			Name: "box", Kind: "box", Plain: map[string]string{"base_url": b.url, "client_id": "rescind-dev"},
			Secret: map[string]subscriptions.Secret{
				"client_secret": secret("rescind-dev-secret"), "signature_key": secret("sim-primary-key"),
			},
			Tenants: []config.Tenant{{ID: "987", Plain: map[string]string{
				"watch.0": "folder:" + boxsim.FolderProjects, "scopes": "root_readwrite",
			}}},
		})
		edit(c)
	}})
	return b
}

// narrow makes a narrower token of the user's for a folder, at Box, and gives the
// reply with the token's text.
func (b *boxed) narrow(user, scope, folder string) (reply map[string]any, access string) {
	b.t.Helper()
	resp, err := b.client.PostForm(b.url+"/oauth2/token", url.Values{
		"grant_type":         {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token":      {b.box.IssueToken(user)},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		"scope":              {scope}, "resource": {b.url + "/2.0/folders/" + folder},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil || resp.StatusCode != http.StatusOK {
		b.t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	return reply, reply["access_token"].(string)
}

// put tells the worker of a token.
func (b *boxed) put(home events.Home, user string, reply any) (status int, said string) {
	b.t.Helper()
	body, err := json.Marshal(map[string]any{
		"provider": home.Provider, "tenant": home.Tenant, "subject": user, "reply": reply,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost,
		"http://"+b.worker.it.Addr()+ask.TokensPath, bytes.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+askToken)
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// may asks the worker.
func (b *boxed) may(r events.Ref, need cache.Grant) lookup.Decision {
	b.t.Helper()
	c, err := lookup.NewHTTP(lookup.HTTPOptions{
		URL: "http://" + b.worker.it.Addr(), Token: askToken, Client: b.client, Timeout: limit,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	d, err := c.Ask(context.Background(), r, need)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// tokenOf is the entry of a token, as any program would compute it.
func tokenOf(user, access string) events.Ref {
	sum := sha256.Sum256([]byte(access))
	return events.Ref{Home: enterprise, Subject: events.Subject(user),
		Resource: events.Resource("token:" + hex.EncodeToString(sum[:])[:32])}
}

func TestANarrowedTokenIsAskedFor(t *testing.T) {
	b := startBoxed(t)
	const preview, deletes = cache.Grant("scope/item_preview"), cache.Grant("scope/item_delete")
	reply, access := b.narrow(boxsim.OwnerUser, "base_explorer item_preview", boxsim.FolderPlans)
	ref := tokenOf(boxsim.OwnerUser, access)
	if d := b.may(ref, preview); d.State != cache.Unknown || !strings.Contains(d.Message, "no such token") {
		t.Errorf("before it is told: %s (%q), want unknown", d.State, d.Message)
	}
	status, said := b.put(enterprise, boxsim.OwnerUser, reply)
	if status != http.StatusOK || !strings.Contains(said, `"resource":"`+string(ref.Resource)+`"`) {
		t.Fatalf("put: %d %s", status, said)
	}
	if d := b.may(ref, preview); d.State != cache.Granted || d.Widths[preview] != "folder:"+boxsim.FolderPlans ||
		d.Basis != "restricted-to" {
		t.Errorf("%s, width %q by %s (%q)", d.State, d.Widths[preview], d.Basis, d.Message)
	}
	if d := b.may(ref, deletes); d.State != cache.Denied {
		t.Errorf("a scope that it lacks: %s", d.State)
	}
	if d := b.may(ref, "permission/can_delete"); d.State != cache.Unknown {
		t.Errorf("a permission: %s; the entry says nothing of these", d.State)
	}
	if d := b.may(tokenOf(boxsim.EditorUser, access), preview); d.State != cache.Unknown {
		t.Errorf("another user's: %s", d.State)
	}
	key := "perm:v1:{box:987}:e:" + boxsim.OwnerUser + ":token%3A" + strings.TrimPrefix(string(ref.Resource), "token:")
	got, err := b.rdb.HMGet(context.Background(), key, "_covers", string(preview), string(deletes)).Result()
	if err != nil || got[0] != "scope" || got[1] != "folder:"+boxsim.FolderPlans || got[2] != nil {
		t.Errorf("%s holds %v, %v", key, got, err)
	}
	b.sayChanged(ref)
	b.worker.stop(t)
	for where, text := range map[string]string{
		"the log": b.log.String(), "NATS's files": b.filesOfNATS(), "Redis": b.allOfBox(),
	} {
		if text == "" || strings.Contains(text, access) {
			t.Errorf("%s: %d bytes, the token among them: %t", where, len(text), text != "")
		}
	}
}

// sayChanged says that the token changed: its entry is made anew.
func (b *boxed) sayChanged(ref events.Ref) {
	b.t.Helper()
	asOf := func() int64 {
		ms, _ := b.rdb.HGet(context.Background(), cache.Keys{}.Entry(ref), cache.FieldAsOf).Int64()
		return ms // 0 while there is none
	}
	before := asOf()
	tag, err := events.ParseTag(string(ref.Resource))
	if err != nil || before == 0 {
		b.t.Fatalf("tag %v, as of %d", err, before)
	}
	_, err = b.stream.Publish(context.Background(), events.Change{ID: "revoked", Home: enterprise,
		Tags: []events.Tag{tag}, Source: events.Application, Received: time.Now()})
	if err != nil {
		b.t.Fatal(err)
	}
	b.await("the entry is made anew", func() bool { return asOf() > before })
}

// allOfBox is what Redis keeps of the enterprise.
func (b *boxed) allOfBox() string {
	b.t.Helper()
	var all strings.Builder
	keys, err := b.rdb.Keys(context.Background(), cache.Keys{}.Base(enterprise)+"*").Result()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, key := range keys {
		dump, err := b.rdb.Dump(context.Background(), key).Result()
		if err != nil {
			continue // over by now
		}
		all.WriteString(key + " " + dump + "\n")
	}
	return all.String()
}

func TestANarrowedTokenEnds(t *testing.T) {
	b := startBoxed(t)
	reply, access := b.narrow(boxsim.OwnerUser, "item_preview", boxsim.FolderPlans)
	ref := tokenOf(boxsim.OwnerUser, access)
	reply["expires_in"] = 3
	if status, said := b.put(enterprise, boxsim.OwnerUser, reply); status != http.StatusOK {
		t.Fatalf("put: %d %s", status, said)
	}
	d := b.may(ref, "scope/item_preview")
	if d.State != cache.Granted || time.Until(d.Until) > 3*time.Second {
		t.Fatalf("%s until %s (%q)", d.State, d.Until, d.Message)
	}
	b.await("unknown", func() bool {
		d = b.may(ref, "scope/item_preview")
		if d.State == cache.Denied {
			t.Fatalf("denied: %+v", d)
		}
		return d.State == cache.Unknown
	})
	if !strings.Contains(d.Message, "no such token") {
		t.Errorf("message %q", d.Message)
	}
}

func TestTokensThatAreNotTaken(t *testing.T) {
	b := startBoxed(t)
	reply, _ := b.narrow(boxsim.OwnerUser, "item_preview", boxsim.FolderPlans)
	other := events.Home{Provider: "box", Tenant: "1"}
	for name, c := range map[string]struct {
		home events.Home
		edit func()
		says string
	}{
		"a provider without such": {home, func() {}, "its provider takes no tokens"},
		"an unknown tenant":       {other, func() {}, "no such tenant"},
		"a token not narrowed":    {enterprise, func() { reply["restricted_to"] = []any{} }, "not narrowed"},
		"no end":                  {enterprise, func() { delete(reply, "expires_in") }, "expires_in"},
	} {
		t.Run(name, func(t *testing.T) {
			c.edit()
			status, said := b.put(c.home, boxsim.OwnerUser, reply)
			if status != http.StatusBadRequest || !strings.Contains(said, c.says) {
				t.Errorf("%d %s, want 400 and %q", status, said, c.says)
			}
		})
	}
}
