package box_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/box"
)

// hookText is a webhook that is as it should be, on a folder.
func hookText(id, folder, address string) string {
	return fmt.Sprintf(`{"id":%q,"target":{"id":%q,"type":"folder"},"address":%q,"triggers":["%s"]}`,
		id, folder, address, strings.Join(box.TriggersOn("folder"), `","`))
}

func mini(id, folder string) string {
	return fmt.Sprintf(`{"id":%q,"type":"webhook","target":{"id":%q,"type":"folder"}}`, id, folder)
}

// TestListReadsEachWebhookOnceAnHour: the list leaves out the addresses.
func TestListReadsEachWebhookOnceAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, testConfig())
		w.vendor.on("GET /webhooks", func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("marker") == "" {
				reply(rw, 200, `{"entries":[`+mini("1", "11")+`],"next_marker":"m"}`)
				return
			}
			reply(rw, 200, `{"entries":[`+mini("2", "99")+`,`+mini("3", "98")+`]}`)
		})
		w.vendor.says("GET /webhooks/1", 200, hookText("1", "11", "https://a.example"))
		w.vendor.says("GET /webhooks/2", 200, hookText("2", "99", "https://b.example"))
		// 3 is deleted between the list and its reading.
		list := func() []subscriptions.Subscription {
			t.Helper()
			list, err := w.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		for range 3 {
			got := list()
			if len(got) != 2 || got[0].Want != "folder:11" || !got[0].Active ||
				got[0].Address != "https://a.example" ||
				got[1].Want != "" || !got[1].Expires.IsZero() {
				t.Errorf("%+v", got)
			}
		}
		if n := w.vendor.count("GET /webhooks/1"); n != 1 {
			t.Errorf("read %d times", n)
		}
		time.Sleep(61 * time.Minute)
		w.vendor.says("GET /webhooks/1", 200, `{"id":"1","target":{"id":"11","type":"folder"},
			"address":"https://a.example","triggers":["FOLDER.MOVED"]}`)
		if got := list(); got[0].Active || got[0].Status != "triggers are missing" {
			t.Errorf("triggers were taken away: %+v", got[0])
		}
	})
}

func TestCreateErrors(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		code   string
		want   string
		is     error
	}{
		"the item is hidden": {404, "not_found", "shared", subscriptions.ErrMisconfigured},
		"the address is bad": {400, "bad_request", "https", subscriptions.ErrMisconfigured},
		"no right to do that": {403, "access_denied_insufficient_permissions", "service account",
			subscriptions.ErrMisconfigured},
		"a conflict, unseen": {409, "conflict", "not listed", nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, testConfig())
			w.vendor.says("GET /webhooks", 200, `{"entries":[],"next_marker":null}`)
			w.vendor.says("POST /webhooks", c.status, fmt.Sprintf(`{"code":%q}`, c.code))
			got, err := w.Create(t.Context(), subscriptions.Order{Address: "https://a.example", Want: "folder:11", Secret: subscriptions.NewSecret("registration-hunter2")})
			if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%+v, %v", got, err)
			}
			if errors.Is(err, subscriptions.ErrGone) {
				t.Errorf("taken for gone: %v", err)
			}
			if n := w.vendor.count("POST /webhooks"); n != 1 {
				t.Errorf("tried %d times", n)
			}
		})
	}
}

func TestAMissingScopeForWebhooks(t *testing.T) {
	w := open(t, testConfig())
	w.vendor.denies("GET /webhooks", 403, "insufficient_scope")
	if _, err := w.List(t.Context()); !errors.Is(err, subscriptions.ErrMisconfigured) {
		t.Errorf("list: %v", err)
	}
	w.vendor.says("GET /webhooks", 200, `{"next_marker":null}`)
	if list, err := w.List(t.Context()); err == nil {
		t.Errorf("a missing list is taken for an empty one: %v", list)
	}
}
