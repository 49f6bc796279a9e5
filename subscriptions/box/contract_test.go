package box_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/box"
	"github.com/rescindhq/rescind/subscriptions/providertest"
	"github.com/rescindhq/rescind/subscriptions/sim/boxsim"
)

func TestContract(t *testing.T) {
	for as, tokens := range map[string]int{box.AsUser: 1, box.AsToken: 2} {
		t.Run(as, func(t *testing.T) {
			providertest.Run(t, providertest.Site{
				Home: home, Lanes: 1, Tokens: tokens, Signed: true, Age: 10 * time.Minute,
				Secrets: []string{"rescind-dev-secret", "sim-primary-key", "sim-secondary-key"},
				Open: func(t testing.TB, w providertest.Wiring) providertest.World {
					return contractWorld(t, w, as)
				},
			})
		})
	}
}

func contractWorld(t testing.TB, w providertest.Wiring, as string) providertest.World {
	t.Helper()
	s := boxsim.New(boxsim.Options{Limit: -1, Transport: w.Deliveries})
	w.Serve(s)
	p, err := box.New(box.Config{Enterprise: home.Tenant, BaseURL: "http://127.0.0.1:1", ClientID: "rescind-dev",
		ClientSecret:  subscriptions.NewSecret("rescind-dev-secret"),
		SignatureKey:  subscriptions.NewSecret("sim-primary-key"),
		SignatureKey2: subscriptions.NewSecret("sim-secondary-key"), As: as,
		Watch:  []string{"folder:" + boxsim.FolderProjects, "file:" + boxsim.FileRoadmap},
		Scopes: []string{"root_readwrite"}}, w.Deps)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := p.PutToken(t.Context(), boxsim.MemberUser, []byte(exchanged(`"1!hunter2"`, "3600", preview)))
	if err != nil {
		t.Fatal(err)
	}
	return providertest.World{
		Provider: p, Close: s.Close, Calls: func() int { return total(s.AllCalls()) },
		Ref:    ref(boxsim.MemberUser, file(boxsim.FileRoadmap)),
		Held:   cache.NewGrant(cache.Permission, "can_download"),
		Revoke: func() error { return s.Leave(boxsim.MemberUser, boxsim.GroupSupport) },
		Others: []events.Ref{
			ref(boxsim.MemberUser, ""), ref(boxsim.AdminUser, ""), ref(boxsim.CoadminUser, ""),
			ref(boxsim.ExternalUser, ""), ref(boxsim.ExternalUser, folder(boxsim.FolderProjects)),
			ref(boxsim.EditorUser, folder(boxsim.FolderPlans)), ref(boxsim.ServiceUser, ""),
			ref(boxsim.MemberUser, folder(boxsim.FolderPrivate)), ref(boxsim.MemberUser, token),
		},
		Unknown: []events.Ref{
			ref("4711", ""), ref("4711", folder(boxsim.FolderPlans)), ref(boxsim.MemberUser, folder("4711")),
			ref(boxsim.MemberUser, file(boxsim.FolderPlans)),
		},
		Misshapen: []events.Resource{"folder:x", "file:1/../2", "web_link:1", "folder:-1", "folder:1:2", "mural:1",
			"token:1"},
		Trigger: func(n int) error {
			return s.Share(boxsim.FileRoadmap, []string{"open", "company"}[n%2])
		},
		Change: func(n int) error {
			return s.SetStatus(boxsim.OwnerUser, []string{"cannot_delete_edit", "active"}[n%2])
		},
		Tag: events.SubjectTag(boxsim.OwnerUser),
		Kill: func() {
			s.EndTokens(boxsim.ServiceUser)
			s.EndTokens(boxsim.MemberUser)
		},
		Dead: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="Service", error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
		},
		Limited: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "60")
			reply(w, 429, `{"type":"error","status":429,"code":"rate_limit_exceeded"}`)
		},
	}
}

func total(calls map[string]int) (n int) {
	for _, one := range calls {
		n += one
	}
	return n
}
