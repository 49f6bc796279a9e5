package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/sim/boxsim"
)

// What is changed in the simulator's enterprise: a member of a group is taken out
// of it, which only the enterprise's events tell, and an editor of a folder becomes
// a viewer, which a webhook tells.
const (
	enterprise    = "987"
	collaboration = "31" // of edgar, on the folder
	membership    = "21" // of mia, in the group
	boxPoll       = "5s"
	// boxLag is until the events show what happened; at Box it is about 12 s.
	boxLag = 500 * time.Millisecond

	upload  = cache.Grant("permission/can_upload")
	inGroup = cache.Grant("group/" + boxsim.GroupSupport)
)

var (
	boxHome = events.Home{Provider: "box", Tenant: enterprise}
	edgar   = events.Ref{Home: boxHome, Subject: boxsim.EditorUser, Resource: "folder:" + boxsim.FolderProjects}
	mia     = events.Ref{Home: boxHome, Subject: boxsim.MemberUser}
)

// boxWorld is the simulated Box.
type boxWorld struct {
	sim          *boxsim.Box
	url          string
	key          string // of its webhooks
	owner, admin string // bearer tokens: of the folder's owner, of the administrator
}

func (w *world) openBox(_ context.Context, d devCmd) error {
	on, url, err := listen("--box", d.Box)
	if err != nil {
		return err
	}
	b := boxWorld{url: url, key: rand.Text()}
	b.sim = boxsim.New(boxsim.Options{
		EnterpriseID: enterprise, PrimaryKey: b.key, EventLag: boxLag, Log: w.log,
	})
	w.undo = append(w.undo, closing(b.sim.Close))
	w.serve(on, b.sim)
	b.owner, b.admin = b.sim.IssueToken(boxsim.OwnerUser), b.sim.IssueToken(boxsim.AdminUser)
	w.box = b
	return nil
}

func (b boxWorld) provider() config.Provider {
	return config.Provider{
		Name: string(boxHome.Provider), Kind: "box",
		Plain: map[string]string{"base_url": b.url, "client_id": clientID, "event_poll": boxPoll},
		Secret: map[string]subscriptions.Secret{
			"client_secret": subscriptions.NewSecret(clientSecret), "signature_key": subscriptions.NewSecret(b.key),
		},
		Tenants: []config.Tenant{{
			ID:    enterprise,
			Plain: map[string]string{"watch.0": "folder:" + boxsim.FolderProjects, "scopes": "root_readwrite"},
		}},
	}
}

// losses are what the tour takes away at Box. The calls are counted of what no
// other entry needs by then.
func (b boxWorld) losses() []loss {
	return []loss{
		{
			ref: mia, grant: inGroup, source: events.Tail,
			calls:  func() int { return b.sim.Calls("get_users_id") },
			act:    fmt.Sprintf("DELETE …/group_memberships/%s, which no webhook tells", membership),
			told:   fmt.Sprintf("found in the enterprise's events, polled every %s", boxPoll),
			revoke: b.leave,
		},
		{
			ref: edgar, grant: upload, source: events.Webhook,
			calls:  func() int { return b.sim.Calls("get_folders_id") },
			act:    fmt.Sprintf("PUT …/collaborations/%s: viewer instead of editor", collaboration),
			told:   "a webhook told it",
			revoke: func(ctx context.Context) error { return b.setRole(ctx, "viewer") },
		},
	}
}

func (b boxWorld) setRole(ctx context.Context, role string) error {
	return call(ctx, http.MethodPut, b.url+"/2.0/collaborations/"+collaboration, b.owner, boxRole(role))
}

func (b boxWorld) leave(ctx context.Context) error {
	return call(ctx, http.MethodDelete, b.url+"/2.0/group_memberships/"+membership, b.admin, "")
}

func boxRole(role string) string { return fmt.Sprintf(`{"role":%q}`, role) }

// facts are what a person needs to play with it.
func (b boxWorld) facts(hook string) []fact {
	return []fact{
		{"box", b.url + "/sim/world"},
		{"box hook", hook},
		{"box owner", boxsim.OwnerUser + ", token " + b.owner},
		{"box admin", boxsim.AdminUser + ", token " + b.admin},
		{"box users", fmt.Sprintf("%s, editor of folder %s; %s, in group %s",
			edgar.Subject, boxsim.FolderProjects, mia.Subject, boxsim.GroupSupport)},
	}
}

// paste are lines for a shell. A membership that is made anew has another id.
func (b boxWorld) paste() []fact {
	collaborations := b.url + "/2.0/collaborations/" + collaboration
	memberships := b.url + "/2.0/group_memberships"
	join := fmt.Sprintf(`{"user":{"id":"%s"},"group":{"id":"%s"}}`, mia.Subject, boxsim.GroupSupport)
	id := fmt.Sprintf(`$(curl -s %s/2.0/users/%s/memberships -H 'Authorization: Bearer %s' `+
		`| sed 's/.*"id":"\([0-9]*\)","modified_at".*/\1/')`, b.url, mia.Subject, b.admin)
	return []fact{
		{"box folder: grant again", curl(http.MethodPut, collaborations, b.owner, boxRole("editor"))},
		{"box folder: revoke", curl(http.MethodPut, collaborations, b.owner, boxRole("viewer"))},
		{"box group: grant again", curl(http.MethodPost, memberships, b.admin, join)},
		{"box group: revoke", curl(http.MethodDelete, memberships+"/"+id, b.admin, "")},
	}
}
