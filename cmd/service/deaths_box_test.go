package service_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/cmd/service"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/renew"
	"github.com/rescindhq/rescind/subscriptions/sim/boxsim"
)

const editorsInvitation = "31" // by which the editor may upload

var (
	editorUploads   = whose{inProjects(boxsim.EditorUser), "permission/can_upload"}
	memberDownloads = whose{inProjects(boxsim.MemberUser), "permission/can_download"}
)

func inProjects(user string) events.Ref {
	return events.Ref{Home: enterprise, Subject: events.Subject(user),
		Resource: events.Resource("folder:" + boxsim.FolderProjects)}
}

// mortalBox is a boxed world behind a front, whose subscriptions are looked at as
// often as that.
func mortalBox(t *testing.T, f *front, check time.Duration) *boxed {
	t.Helper()
	b := newBoxed(t, func(c *config.Config) {
		c.Providers[1].Plain["event_poll"] = "5s"
		c.Listener.PublicURL = f.url
		c.Log.Level = "info"
	})
	it, err := service.NewWorkerChecking(context.Background(), b.cfg, b.logger("worker"), check)
	if err != nil {
		t.Fatal(err)
	}
	b.worker = run(t, it)
	b.listener = b.listens("first", b.cfg, check)
	f.to(b.listener.it.Addr())
	b.subscribed()
	b.await("the tail is alive", func() bool {
		_, text := b.get(b.worker.it.AdminAddr(), "/metrics")
		return strings.Contains(text, `rescind_feed_alive{kind="tail",provider="box"} 1`)
	})
	return b
}

func (b *boxed) hooked() bool { return len(b.box.Webhooks()) == 1 }

// hook wants one webhook, and returns its id.
func (b *boxed) hook() string {
	b.t.Helper()
	all := b.box.Webhooks()
	if len(all) != 1 {
		b.t.Fatalf("%d webhooks, want 1: %+v", len(all), all)
	}
	return all[0].ID
}

// demote takes the editor's right to upload away.
func (b *boxed) demote() { b.role("viewer") }

func (b *boxed) role(name string) {
	if err := b.box.SetCollaborationRole(editorsInvitation, name); err != nil {
		b.t.Error(err)
	}
}

func boxLost(t *testing.T, table *deaths) {
	f := startFront(t)
	b := mortalBox(t, f, deathCheck)
	v := b.inquire(editorUploads, memberDownloads, b.hooked)
	v.die(func() {
		if err := b.box.LoseWebhook(b.hook()); err != nil {
			t.Error(err)
		}
	})
	v.revoke(b.demote)
	found := v.healed()
	table.add(t, deathRow{5, "deleted at Box without a word", found,
		"5.5 min at most until noticed; the tail tells of what changed within event_poll and 12 s"}, 20*time.Second)
}

// boxObituaries come to the listener that does not keep the subscriptions, and long
// before the next look.
func boxObituaries(t *testing.T, table *deaths) {
	f := startFront(t)
	b := mortalBox(t, f, renew.DefaultCheck)
	other := b.listens("other", b.elsewhere(), renew.DefaultCheck)
	f.to(other.it.Addr())
	for way, die := range map[string]func(string) error{
		"WEBHOOK.DELETED":   b.box.DeleteWebhook,
		"NO_ACTIVE_SESSION": b.box.EndSession,
	} {
		b.role("editor")
		was := b.hook()
		anew := func() bool { return b.hooked() && b.hook() != was }
		v := b.inquireEvery(renew.DefaultCheck, editorUploads, memberDownloads, anew)
		v.die(func() {
			if err := die(was); err != nil {
				t.Error(err)
			}
		})
		v.revoke(b.demote) // whose notice says that the session is over
		found := v.healed()
		v.close()
		if got := f.answers(other.it.Addr())[http.StatusOK]; got == 0 {
			t.Error("the other listener was told nothing")
		}
		table.add(t, deathRow{6, "Box says " + way + " to who does not hold", found, "the same: no look is waited for"},
			20*time.Second)
	}
}

// tenantRemoved takes one of two tenants out of the configuration, and puts it back.
func tenantRemoved(t *testing.T, table *deaths) {
	f := startFront(t)
	b := mortalBox(t, f, deathCheck)
	foreign := b.byHand()
	others := b.only().ID
	b.listener.stop(t)
	less := *b.cfg
	less.Providers = less.Providers[:1]
	start := time.Now()
	b.listener = b.listens("less", &less, deathCheck)
	f.to(b.listener.it.Addr())
	b.awaitLong("its registration is taken down", b.hooked)
	took := time.Since(start)
	if got := b.hook(); got != foreign {
		t.Errorf("%s is there, want %s, which is not ours", got, foreign)
	}
	b.await("its ledger is gone", func() bool {
		all, err := b.stream.Ledgers().All(t.Context())
		_, there := all[enterprise]
		return err == nil && !there && len(all) == 1
	})
	b.subscribed()
	if got := b.only().ID; got != others {
		t.Errorf("%s is there, want %s of the other tenant kept", got, others)
	}
	b.listener.stop(t)
	b.listener = b.listens("again", b.cfg, deathCheck)
	f.to(b.listener.it.Addr())
	b.subscribed()
	if got := len(b.box.Webhooks()); got != 2 {
		t.Errorf("%d webhooks once it is back, want ours and the foreign one", got)
	}
	table.add(t, deathRow{12, "a tenant is taken out of the configuration", none(),
		"taken down as a listener starts, here after " + span(took) + "; others stay"}, 0)
}

// byHand makes a webhook that is none of ours, for another folder.
func (b *boxed) byHand() string {
	b.t.Helper()
	body := `{"target":{"id":"` + boxsim.FolderPrivate + `","type":"folder"},"address":"http://127.0.0.1:1/x",` +
		`"triggers":["FILE.UPLOADED"]}`
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.url+"/2.0/webhooks", strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+b.box.IssueToken(boxsim.ServiceUser))
	r.Header.Set("Content-Type", "application/json")
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		b.t.Fatalf("status %d", resp.StatusCode)
	}
	for _, x := range b.box.Webhooks() {
		if x.Target == boxsim.FolderPrivate {
			return x.ID
		}
	}
	b.t.Fatal("it is not there")
	return ""
}
