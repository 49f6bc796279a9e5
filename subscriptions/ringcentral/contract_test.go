package ringcentral_test

import (
	"net/http"
	"testing"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/providertest"
	"github.com/rescindhq/rescind/subscriptions/ringcentral"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

func TestContract(t *testing.T) {
	for name, exchange := range map[string]bool{"by the service": false, "with the subject's token": true} {
		t.Run(name, func(t *testing.T) {
			providertest.Run(t, providertest.Site{
				Home: home, Lanes: 1, Tokens: 1,
				Secrets: []string{"rescind-dev-secret", "sim-service-jwt", doorSecret, oldSecret, sim.ExchangeSecret},
				Open: func(t testing.TB, w providertest.Wiring) providertest.World {
					return contractWorld(t, w, exchange)
				},
			})
		})
	}
}

func contractWorld(t testing.TB, w providertest.Wiring, exchange bool) providertest.World {
	t.Helper()
	many := sim.Limit{Calls: 100_000}
	rc := sim.NewRingCentral(sim.Options{Transport: w.Deliveries,
		Limits: map[string]sim.Limit{"light": many, "medium": many, "heavy": many, "auth": many}})
	w.Serve(rc)
	cfg := testConfig()
	cfg.ClientID, cfg.ClientSecret = "rescind-dev", subscriptions.NewSecret("rescind-dev-secret")
	cfg.JWT = subscriptions.NewSecret("sim-service-jwt")
	if exchange {
		cfg.Exchange = &ringcentral.ExchangeConfig{URL: cfg.BaseURL + "/token-exchange", ClientID: sim.ExchangeID,
			ClientSecret: subscriptions.NewSecret(sim.ExchangeSecret)}
	}
	p, err := ringcentral.New(cfg, w.Deps)
	if err != nil {
		t.Fatal(err)
	}
	ref := func(s events.Subject) events.Ref { return events.Ref{Home: home, Subject: s} }
	return providertest.World{
		Provider: p, Close: rc.Close, Calls: func() int { return total(rc.AllCalls()) },
		Ref: ref(simUser), Held: cache.NewGrant(cache.Permission, "InternationalCalls"),
		Revoke:    func() error { return rc.AssignRoles(simUser, "5") },
		Others:    []events.Ref{ref(simAdmin), ref("8798797945"), ref("74953947939")},
		Unknown:   []events.Ref{ref("4711"), ref("no number"), ref("74953947939/../8475874957")},
		Misshapen: []events.Resource{"extension:1", "folder:11"},
		Trigger:   func(n int) error { return rc.AssignRoles(simUser, []string{"1", "3"}[n%2]) },
		Change: func(int) error {
			r, err := rc.Role("3")
			if err != nil {
				return err
			}
			_, err = rc.PutRole(r)
			return err
		},
		Tag: events.RoleTag("3"),
		Kill: func() {
			for range 6 { // more sessions than an extension and app may have
				rc.IssueToken(simAdmin, []string{"ReadAccounts"})
				rc.IssueToken(simUser, []string{"ReadAccounts"})
			}
		},
		Dead: func(w http.ResponseWriter, _ *http.Request) {
			reply(w, 401, `{"errorCode":"TokenInvalid","errors":[{"errorCode":"OAU-213"}]}`)
		},
		Limited: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "60")
			reply(w, 429, `{"errorCode":"CMN-301","errors":[{"errorCode":"CMN-301"}]}`)
		},
		Full: func(w http.ResponseWriter, _ *http.Request) {
			reply(w, 403, `{"errorCode":"SUB-505","errors":[{"errorCode":"SUB-505"}]}`)
		},
		Unreachable: func(w http.ResponseWriter, _ *http.Request) {
			reply(w, 400, `{"errorCode":"SUB-521","errors":[{"errorCode":"SUB-521"}]}`)
		},
	}
}

func total(calls map[string]int) (n int) {
	for _, one := range calls {
		n += one
	}
	return n
}
