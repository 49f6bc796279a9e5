package box_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/box"
)

var made = time.Date(2018, 4, 27, 13, 52, 47, 0, time.FixedZone("", -7*3600))

// hookText is a webhook that is as it should be, on a folder.
func hookText(id, folder, address string) string {
	return fmt.Sprintf(`{"id":%q,"target":{"id":%q,"type":"folder"},"address":%q,
		"created_at":%q,"triggers":["%s"]}`, id, folder, address, made.Format(time.RFC3339),
		strings.Join(box.TriggersOn("folder"), `","`))
}

func mini(id, folder string) string {
	return fmt.Sprintf(`{"id":%q,"type":"webhook","target":{"id":%q,"type":"folder"}}`, id, folder)
}

// order is one with a secret, which Box has no use for.
func order(address, want string) subscriptions.Order {
	return subscriptions.Order{Address: address, Want: want,
		Secret: subscriptions.NewSecret("registration-hunter2")}
}

func (w *world) list(t testing.TB) []subscriptions.Subscription {
	t.Helper()
	list, err := w.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
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
		for range 3 {
			got := w.list(t)
			if len(got) != 2 || got[0].Want != "folder:11" || !got[0].Active ||
				got[0].Address != "https://a.example" || len(got[0].Disabled) != 0 ||
				!slices.Equal(got[0].Filters, box.TriggersOn("folder")) || !got[0].Created.Equal(made) ||
				got[1].Want != "" || !got[1].Expires.IsZero() {
				t.Errorf("%+v", got)
			}
		}
		if n := w.vendor.count("GET /webhooks/1"); n != 1 {
			t.Errorf("read %d times", n)
		}
		time.Sleep(61 * time.Minute)
		w.vendor.says("GET /webhooks/1", 200, hookText("1", "11", "https://c.example"))
		if got := w.list(t); got[0].Address != "https://c.example" {
			t.Errorf("another address: %+v", got[0])
		}
	})
}

// crowd has so many webhooks, on folders of the same number, at the vendor.
func (v *vendor) crowd(n int) {
	for id := 1; id <= n; id++ {
		text := strconv.Itoa(id)
		v.says("GET /webhooks/"+text, 200, hookText(text, text, "https://a.example"))
	}
	v.on("GET /webhooks", func(w http.ResponseWriter, r *http.Request) {
		from, _ := strconv.Atoi(r.URL.Query().Get("marker"))
		var entries []string
		for id := from + 1; id <= min(from+100, n); id++ {
			entries = append(entries, mini(strconv.Itoa(id), strconv.Itoa(id)))
		}
		next := ""
		if from+100 < n {
			next = strconv.Itoa(from + 100)
		}
		reply(w, 200, fmt.Sprintf(`{"entries":[%s],"next_marker":%q}`, strings.Join(entries, ","), next))
	})
}

// reads counts how often each webhook was read.
func (v *vendor) reads() (each map[string]int, all int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	each = map[string]int{}
	for _, c := range v.calls {
		if strings.HasPrefix(c, "GET /webhooks/") {
			each[c]++
			all++
		}
	}
	return each, all
}

// TestReadingIsSpread: of a thousand webhooks a few are read with each list, all of
// them within an hour, and no more of them however often they are listed.
func TestReadingIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, testConfig())
		w.vendor.crowd(1000)
		w.list(t)
		_, before := w.vendor.reads()
		for n := range 12 {
			time.Sleep(5 * time.Minute)
			w.list(t)
			_, now := w.vendor.reads()
			if share := now - before; share < 90 || share > 95 {
				t.Errorf("list %d read %d", n, share)
			}
			before = now
		}
		each, all := w.vendor.reads()
		for call, n := range each {
			if n < 2 || n > 3 {
				t.Errorf("%s: %d times", call, n)
			}
		}
		if len(each) != 1000 || all > 1000+1112 {
			t.Errorf("%d webhooks read, %d times", len(each), all)
		}
		for range 60 { // as after errors
			time.Sleep(10 * time.Second)
			w.list(t)
		}
		if _, now := w.vendor.reads(); now-before > 190 {
			t.Errorf("%d more in 10 min", now-before)
		}
	})
}

// TestFewWebhooksAreReadRarely: the share of one list may be less than one.
func TestFewWebhooksAreReadRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, testConfig())
		w.vendor.crowd(2)
		w.list(t)
		w.vendor.says("GET /webhooks/1", 200, hookText("1", "1", "https://new.example"))
		w.vendor.says("GET /webhooks/2", 200, hookText("2", "2", "https://new.example"))
		for range 12 {
			time.Sleep(5 * time.Minute)
			w.list(t)
		}
		each, all := w.vendor.reads()
		if each["GET /webhooks/1"] != 2 || each["GET /webhooks/2"] != 2 || all != 4 {
			t.Errorf("read %v", each)
		}
		for _, one := range w.list(t) {
			if one.Address != "https://new.example" {
				t.Errorf("%+v", one)
			}
		}
	})
}

// TestAWebhookWithAnotherItemIsReadAgain: somebody has changed it.
func TestAWebhookWithAnotherItemIsReadAgain(t *testing.T) {
	w := open(t, testConfig())
	for _, folder := range []string{"99", "11"} {
		w.vendor.says("GET /webhooks", 200, `{"entries":[`+mini("1", folder)+`]}`)
		w.vendor.says("GET /webhooks/1", 200, hookText("1", folder, "https://"+folder+".example"))
		got := w.list(t)[0]
		if got.Address != "https://"+folder+".example" || (got.Want != "") != (folder == "11") {
			t.Errorf("on %s: %+v", folder, got)
		}
	}
}

// TestALackOfTriggersIsMended: what is there is served, the rest told as disabled
// until it is renewed.
func TestALackOfTriggersIsMended(t *testing.T) {
	w := open(t, testConfig())
	w.vendor.says("GET /webhooks", 200, `{"entries":[`+mini("1", "11")+`]}`)
	w.vendor.says("GET /webhooks/1", 200, `{"id":"1","target":{"id":"11","type":"folder"},
		"address":"https://a.example","triggers":["FOLDER.MOVED","COMMENT.CREATED"]}`)
	got := w.list(t)[0]
	if !got.Active || !slices.Equal(got.Filters, []string{"FOLDER.MOVED", "COMMENT.CREATED"}) ||
		len(got.Disabled) != len(box.TriggersOn("folder"))-1 ||
		!slices.Contains(got.Disabled, "FOLDER.TRASHED") {
		t.Errorf("%+v", got)
	}
	w.vendor.on("PUT /webhooks/1", func(rw http.ResponseWriter, r *http.Request) {
		var asked struct{ Triggers []string }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil ||
			!slices.Equal(asked.Triggers, box.TriggersOn("folder")) {
			t.Errorf("asked for %q, %v", asked.Triggers, err)
		}
		reply(rw, 200, hookText("1", "11", "https://a.example"))
	})
	if got, err := w.Renew(t.Context(), "1"); err != nil || len(got.Disabled) != 0 || !got.Active {
		t.Errorf("renewed: %+v, %v", got, err)
	}
	if got := w.list(t)[0]; len(got.Disabled) != 0 {
		t.Errorf("listed: %+v", got)
	}
}

func TestCreateErrors(t *testing.T) {
	const (
		misconfigured = iota + 1
		unreachable
		full
		mayPass
	)
	const invalid = "invalid_parameter"
	blames := func(name, reason string) string {
		return fmt.Sprintf(`,"context_info":{"errors":[{"reason":%q,"name":%q,"message":"%s"}]}`,
			reason, name, accessMark)
	}
	for name, c := range map[string]struct {
		status        int
		code, context string
		want          string
		is            int
	}{
		"the item is hidden":   {404, "not_found", "", "shared", misconfigured},
		"the item is no item":  {400, "bad_request", blames("target", invalid), "item", misconfigured},
		"a trigger is none":    {400, "bad_request", blames("triggers", invalid), "triggers", misconfigured},
		"the address is bad":   {400, "bad_request", blames("address", invalid), "port 443", unreachable},
		"nobody says what":     {400, "bad_request", "", "certificate", unreachable},
		"in another form":      {400, "bad_request", `,"context_info":["address"]`, "TLS 1.2", unreachable},
		"terms to be accepted": {400, "terms_of_service_required", "", "accept", misconfigured},
		"too many":             {400, "bad_request", blames("webhook", "limit_exceeded"), "1000", full},
		"too many, by code":    {403, "webhook_limit_reached", "", "1000", full},
		"no right to do that":  {403, "access_denied_insufficient_permissions", "", "co-owner", misconfigured},
		"a conflict, unseen":   {409, "conflict", "", "not listed", mayPass},
		"what nobody knows":    {418, "teapot", "", "418", mayPass},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, testConfig())
			w.vendor.says("GET /webhooks", 200, `{"entries":[],"next_marker":null}`)
			w.vendor.says("POST /webhooks", c.status, fmt.Sprintf(`{"code":%q%s}`, c.code, c.context))
			got, err := w.Create(t.Context(), order("https://a.example", "folder:11"))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%+v, %v", got, err)
			}
			for is, want := range map[error]bool{
				subscriptions.ErrMisconfigured: c.is != mayPass, subscriptions.ErrGone: false,
				subscriptions.ErrUnreachable: c.is == unreachable, subscriptions.ErrFull: c.is == full,
			} {
				if errors.Is(err, is) != want {
					t.Errorf("%v: %t, want %t", is, !want, want)
				}
			}
			noSecret(t, err.Error())
			if n := w.vendor.count("POST /webhooks"); n != 1 {
				t.Errorf("tried %d times", n)
			}
		})
	}
}

// TestTheThousandthIsTheLast, whatever Box says to one more.
func TestTheThousandthIsTheLast(t *testing.T) {
	w := open(t, testConfig())
	if got := w.Terms(); got != (subscriptions.Terms{Most: 1000}) {
		t.Errorf("terms %+v", got)
	}
	create := func() error {
		_, err := w.Create(t.Context(), order("https://a.example", "file:12"))
		return err
	}
	w.vendor.crowd(1000)
	w.vendor.says("POST /webhooks", 403, `{"code":"access_denied_insufficient_permissions"}`)
	w.list(t)
	if err := create(); !errors.Is(err, subscriptions.ErrFull) {
		t.Errorf("with 1000: %v", err)
	}
	w.vendor.says("POST /webhooks", 400, `{"context_info":{"errors":[{"name":"address"}]}}`)
	if err := create(); !errors.Is(err, subscriptions.ErrUnreachable) {
		t.Errorf("with 1000, and a bad address: %v", err)
	}
	w.vendor.says("POST /webhooks", 403, `{"code":"access_denied_insufficient_permissions"}`)
	w.vendor.says("DELETE /webhooks/7", 204, "")
	if err := w.Delete(t.Context(), "7"); err != nil {
		t.Fatal(err)
	}
	if err := create(); errors.Is(err, subscriptions.ErrFull) ||
		!errors.Is(err, subscriptions.ErrMisconfigured) {
		t.Errorf("with 999: %v", err)
	}
}

// TestARefusedTokenIsNoBadAddress, although it is a 400 too.
func TestARefusedTokenIsNoBadAddress(t *testing.T) {
	w := open(t, testConfig())
	w.vendor.says("POST /oauth2/token", 400, `{"error":"invalid_grant"}`)
	_, err := w.Create(t.Context(), order("https://a.example", "folder:11"))
	if !errors.Is(err, subscriptions.ErrMisconfigured) || errors.Is(err, subscriptions.ErrUnreachable) {
		t.Errorf("%v", err)
	}
}

func TestCreateWaitsWhenItIsTold(t *testing.T) {
	w := open(t, testConfig())
	w.vendor.on("POST /webhooks", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Retry-After", "7")
		reply(rw, 429, `{"code":"rate_limit_exceeded"}`)
	})
	var later *subscriptions.Later
	if _, err := w.Create(t.Context(), order("https://a.example", "folder:11")); !errors.As(err, &later) ||
		errors.Is(err, subscriptions.ErrMisconfigured) {
		t.Errorf("%v", err)
	}
}

// TestWhatIsInTheWayIsTakenOver without a list if it is known. One that goes meanwhile
// is no fault.
func TestWhatIsInTheWayIsTakenOver(t *testing.T) {
	const ours = "https://a.example/hooks/box/0123456789abcdef0123456789abcdef/0"
	w := open(t, testConfig())
	w.vendor.says("POST /webhooks", 409, `{"code":"conflict"}`)
	w.vendor.says("GET /webhooks", 200, `{"entries":[`+mini("1", "11")+`]}`)
	w.vendor.says("GET /webhooks/1", 200, hookText("1", "11", "https://old.example/hooks/box/0123456789abcdef0123456789abcdef"))
	w.vendor.says("PUT /webhooks/1", 200, hookText("1", "11", ours))
	create := func() (subscriptions.Subscription, error) {
		return w.Create(t.Context(), order(ours, "folder:11"))
	}
	for _, lists := range []int{1, 1} { // from then on it is known
		got, err := create()
		if err != nil || got.ID != "1" || got.Address != ours || !got.Active {
			t.Errorf("%+v, %v", got, err)
		}
		if n := w.vendor.count("GET /webhooks"); n != lists {
			t.Errorf("listed %d times, want %d", n, lists)
		}
	}
	w.vendor.says("PUT /webhooks/1", 404, `{"code":"not_found"}`)
	_, err := create()
	if err == nil || errors.Is(err, subscriptions.ErrGone) || errors.Is(err, subscriptions.ErrMisconfigured) {
		t.Errorf("gone meanwhile: %v", err)
	}
	w.vendor.says("PUT /webhooks/1", 400, `{"code":"bad_request"}`)
	if _, err := create(); !errors.Is(err, subscriptions.ErrUnreachable) {
		t.Errorf("taken over with a bad address: %v", err)
	}
}

// What this app has on the item for another purpose is neither taken over nor removed.
func TestWhatWeDidNotMakeIsLeftAlone(t *testing.T) {
	for name, address := range map[string]string{
		"elsewhere":      "https://sync.example/box",
		"almost as ours": "https://a.example/hooks/box/0123456789abcdef0123456789abcdef/0/x",
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, testConfig())
			w.vendor.says("POST /webhooks", 409, `{"code":"conflict"}`)
			w.vendor.says("GET /webhooks", 200, `{"entries":[`+mini("1", "11")+`]}`)
			w.vendor.says("GET /webhooks/1", 200, hookText("1", "11", address))
			_, err := w.Create(t.Context(), order("https://a.example", "folder:11"))
			if !errors.Is(err, subscriptions.ErrMisconfigured) || w.vendor.count("PUT /webhooks/1") > 0 {
				t.Errorf("error %v, %d updates", err, w.vendor.count("PUT /webhooks/1"))
			}
		})
	}
}

func TestRenewErrors(t *testing.T) {
	w := open(t, testConfig())
	w.vendor.says("GET /webhooks/1", 200, hookText("1", "11", "https://a.example"))
	w.vendor.denies("PUT /webhooks/1", 403, "insufficient_scope")
	if _, err := w.Renew(t.Context(), "1"); !errors.Is(err, subscriptions.ErrMisconfigured) ||
		!strings.Contains(err.Error(), "manage_webhook") {
		t.Errorf("without the scope: %v", err)
	}
	w.vendor.says("PUT /webhooks/1", 404, `{"code":"not_found"}`)
	if _, err := w.Renew(t.Context(), "1"); !errors.Is(err, subscriptions.ErrGone) {
		t.Errorf("the item is gone: %v", err)
	}
	w.vendor.says("GET /webhooks/1", 404, `{"code":"not_found"}`)
	if _, err := w.Renew(t.Context(), "1"); !errors.Is(err, subscriptions.ErrGone) {
		t.Errorf("the webhook is gone: %v", err)
	}
}

func TestAMissingScopeForWebhooks(t *testing.T) {
	w := open(t, testConfig())
	w.vendor.denies("GET /webhooks", 403, "insufficient_scope")
	if _, err := w.List(t.Context()); !errors.Is(err, subscriptions.ErrMisconfigured) ||
		!strings.Contains(err.Error(), "manage_webhook") {
		t.Errorf("list: %v", err)
	}
	w.vendor.says("GET /webhooks", 200, `{"next_marker":null}`)
	if list, err := w.List(t.Context()); err == nil {
		t.Errorf("a missing list is taken for an empty one: %v", list)
	}
}
