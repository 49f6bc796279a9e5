package listen_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/natslocal"
	"github.com/rescindhq/rescind/subscriptions/listen"
)

// attack is what somebody sends, and what comes of it.
type attack struct {
	name string
	send func(net.Conn)
	// want lists the statuses of the answers; "end" is an end without one.
	want string
	// outcome is that of the first answer; empty: net/http answers before us.
	outcome string
}

// The second tenant of the door under attack.
const (
	otherToken = "SECRET-token-of-another"
	otherPart  = "SECRETother456789abcdefgh"
)

var otherHome = events.Home{Provider: "ringcentral", Tenant: "99"}

// good is a whole delivery, which is welcome any number of times.
func good(method, target string, headers ...string) string {
	body := notice("u", "42")
	return request(method, target, len(body), append(headers, auth)...) + body
}

// with is a delivery of that body, by who knows the address and the token.
func with(path, body string, headers ...string) func(net.Conn) {
	return whole(request("POST", path, len(body), append(headers, auth)...) + body)
}

// inChunks is a delivery whose body is written as given.
func inChunks(path, body string, headers ...string) func(net.Conn) {
	return whole(request("POST", path, -1, append(headers, auth, "Transfer-Encoding: chunked")...) + body)
}

// slowness holds a connection for as long as it can.
func slowness(path string) []attack {
	return []attack{
		{"a connection that says nothing", whole(""), "end", ""},
		{"a request line that never ends", whole("POST " + path), "400", ""},
		{"headers that drip", drip("POST " + path + " HTTP/1.1\r\nHost: l\r\nX: "), "end", ""},
		{"a body that drips", drip(request("POST", path, 4096, auth)), "408", "slow"},
		{"a body that never comes", whole(request("POST", path, 4096, auth)), "408", "slow"},
		{"a chunk that never ends", inChunks(path, "ffffff\r\n{"), "408", "slow"},
		{"chunks that never end", drip(request("POST", path, -1, auth, "Transfer-Encoding: chunked") + "fffff\r\n"),
			"408", "slow"},
		{"a good delivery, then silence", whole(good("POST", path)), "200 end", "published"},
		{"a stranger's body that never comes", whole(request("POST", path+"x", 4096)), "404 end", "unknown"},
	}
}

// bodies come from who knows the address and the token.
func bodies(t *testing.T, path string) []attack {
	const foreign = `{"event":"/restapi/v1.0/account/1/extension"}`
	ok, big := notice("u", "42"), strings.Repeat("x", 10<<20)
	odd := func(from, to string) func(net.Conn) { return with(path, strings.Replace(ok, from, to, 1)) }
	digits := strings.Repeat("7", 1000)
	return []attack{
		{"truncated JSON", with(path, ok[:20]), "400", "unreadable"},
		{"not JSON", with(path, "SECRET"), "400", "unreadable"},
		{"another account's", with(path, foreign), "400", "unreadable"},
		{"a body cut short", cut(request("POST", path, 999, auth) + ok), "400", "unreadable"},
		{"10 MB", with(path, big), "413", "too_large"},
		{"10 MB in chunks", inChunks(path, chunked(big, 64<<10)), "413", "too_large"},
		{"10 GB announced, with leave to continue",
			whole(request("POST", path, 10<<30, auth, "Expect: 100-continue")), "413", "too_large"},
		{"gzip", with(path, zipped(t, ok), "Content-Encoding: gzip"), "400", "unreadable"},
		{"deflate", with(path, deflated(t, ok), "Content-Encoding: deflate"), "400", "unreadable"},
		{"a gzip bomb", with(path, zipped(t, big), "Content-Encoding: gzip"),
			"400", "unreadable"},
		{"gzip that is none", with(path, ok, "Content-Encoding: gzip"), "200", "duplicate"},
		{"nesting 100,000 deep", with(path, strings.Repeat(`{"body":`, 100_000)), "400", "unreadable"},
		{"100,000 lists", with(path, strings.Repeat("[", 100_000)), "400", "unreadable"},
		{"a key given twice", odd(`"uuid":"u"`, `"uuid":"x","uuid":"u"`), "200", "duplicate"},
		{"another account in a second key", odd(`,"body"`, `,"event":"/restapi/v1.0/account/1/extension","body"`),
			"400", "unreadable"},
		{"text that is not UTF-8", odd(`"42"`, "\"\xff\xfe\""), "200", "duplicate"},
		{"a NUL byte", odd("42", "4\x002"), "400", "unreadable"},
		{"a NUL that is written out", odd("42", `4\u00002`), "200", "duplicate"},
		{"an id of 1,000 digits", odd(`"42"`, digits), "400", "unreadable"},
		{"a number of 1,000 digits elsewhere", odd(`"body":{`, `"x":`+digits+`,"body":{`), "200", "duplicate"},
		{"a number beyond all numbers", odd(`"body":{`, `"timestamp":1e99999,"body":{`), "400", "unreadable"},
		{"text/plain", with(path, ok, "Content-Type: text/plain"), "200", "duplicate"},
		{"multipart/form-data", with(path, ok, "Content-Type: multipart/form-data; boundary=x"),
			"200", "duplicate"},
		{"a content type that is none", with(path, ok, "Content-Type: ;;;"), "200", "duplicate"},
		{"the same delivery 1,000 times", whole(strings.Repeat(good("POST", path), 1000)),
			strings.TrimSpace(strings.Repeat("200 ", 1000)), "duplicate"},
	}
}

// framing is about where a body ends.
func framing(path string) []attack {
	ok := notice("u", "42")
	n := fmt.Sprint("Content-Length: ", len(ok))
	length := func(s string) func(net.Conn) {
		return whole(request("POST", path, -1, auth, "Content-Length: "+s) + ok)
	}
	coding := func(s string) func(net.Conn) {
		return whole(request("POST", path, -1, auth, "Transfer-Encoding:"+s) + chunked(ok, 10))
	}
	one := chunked(ok, len(ok))
	size, _, _ := strings.Cut(one, "\r\n")
	return []attack{
		{"a length and chunks", inChunks(path, chunked(ok, 10), "Content-Length: 5"), "200", "duplicate"},
		{"two lengths", with(path, ok, "Content-Length: 1"), "400", ""},
		{"one length twice", with(path, ok, n), "200", "duplicate"},
		{"a negative length", length("-1"), "400", ""},
		{"a length with a sign", length(fmt.Sprint("+", len(ok))), "400", ""},
		{"a length in hex", length("0x10"), "400", ""},
		{"a length of 20 digits", length("99999999999999999999"), "400", ""},
		{"the greatest length", length("9223372036854775807"), "413", "too_large"},
		{"a list of lengths", length("5, 5"), "400", ""},
		{"no length at all", whole(request("POST", path, -1, auth)), "200", "nothing"},
		{"a coding that is unknown", coding(" gzip"), "501", ""},
		{"two codings", coding(" gzip, chunked"), "501", ""},
		{"two headers of codings", inChunks(path, chunked(ok, 10), "Transfer-Encoding: identity"), "501", ""},
		{"a coding behind a tab", coding("\x0bchunked"), "400", ""},
		{"a broken chunk", inChunks(path, "zz\r\n"+ok), "400", "unreadable"},
		{"a chunk of negative size", inChunks(path, "-1\r\n"+ok), "400", "unreadable"},
		{"a chunk of 17 digits", inChunks(path, "10000000000000000\r\n"+ok), "400", "unreadable"},
		{"a chunk of the greatest size", inChunks(path, "ffffffffffffffff\r\n"+strings.Repeat(" ", 5<<20)),
			"413", "too_large"},
		{"a chunk that says less", inChunks(path, "5\r\n"+ok+"\r\n0\r\n\r\n"), "400", "unreadable"},
		{"chunks that end in a line feed alone", inChunks(path, strings.ReplaceAll(chunked(ok, 10), "\r\n", "\n")),
			"400", "unreadable"},
		{"an extension", inChunks(path, strings.Replace(one, size, size+";a=b", 1)), "200", "duplicate"},
		{"an extension of 8 KiB", inChunks(path, strings.Replace(one, size, size+";"+strings.Repeat("a", 8<<10),
			1)),
			"400", "unreadable"},
		{"many extensions", inChunks(path, strings.ReplaceAll(chunked(strings.Repeat(" ", 999)+ok, 1),
			"1\r\n", "1;"+strings.Repeat("a", 99)+"\r\n")), "400", "unreadable"},
		{"a trailer of 64 KiB", inChunks(path, strings.TrimSuffix(one, "\r\n")+
			"X: "+strings.Repeat("a", 64<<10)+"\r\n\r\n"), "400", "unreadable"},
		{"the token in a trailer", whole(request("POST", path, -1, "Transfer-Encoding: chunked",
			"Trailer: Verification-Token") + strings.TrimSuffix(one, "\r\n") + auth + "\r\n\r\n"), "401", "refused"},
	}
}

// zipped is a text in gzip, deflated in zlib, which HTTP calls deflate.
func zipped(t *testing.T, text string) string {
	var b bytes.Buffer
	return squeezed(t, text, &b, gzip.NewWriter(&b))
}

func deflated(t *testing.T, text string) string {
	var b bytes.Buffer
	return squeezed(t, text, &b, zlib.NewWriter(&b))
}

func squeezed(t *testing.T, text string, into *bytes.Buffer, w io.WriteCloser) string {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return into.String()
}

// row prints what came of an attack.
func (a attack) row(got string) string {
	return fmt.Sprintf("\n%-48s want %-8.20s got %.20s", a.name, a.want, got)
}

// Whatever is sent, the answer is the one expected, the next good delivery is
// taken, and nothing is stored but good deliveries, each once. The server is the
// one of production, with its own limits.
func TestAttacks(t *testing.T) {
	b := newBroker(t, natslocal.Options{})
	other := listen.Door{Home: otherHome, Path: otherPart, Door: ringCentralOf(t, otherHome, otherToken)}
	s := open(t, listen.Config{Publisher: toStream{b.Stream}, Doors: []listen.Door{other}}, ringCentral(t), nil)
	if got := s.post(t, notice("u", "42")); got != http.StatusOK {
		t.Fatalf("status %d for a good delivery", got)
	}
	rows := slices.Concat(bodies(t, s.path), framing(s.path), targets(s.path), heads(s.path), protocols(s.path))
	var table strings.Builder
	for _, a := range rows {
		t.Run(a.name, func(t *testing.T) {
			before := s.counted(t, a)
			got := s.raw(t, len(strings.Fields(a.want)), a.send)
			table.WriteString(a.row(s.judge(t, a, got, before)))
		})
	}
	t.Logf("%d attacks:%s", len(rows), table.String())
	if got := b.stored(t); len(got) != 1 {
		t.Errorf("%d changes are stored", len(got))
	}
}

// Attacks by slowness, all at once, against shorter limits than production's.
func TestSlowAttacks(t *testing.T) {
	s := open(t, listen.Config{Publisher: &memory{}}, ringCentral(t), func(srv *http.Server) {
		srv.ReadHeaderTimeout, srv.ReadTimeout, srv.IdleTimeout = time.Second, 2*time.Second, 2*time.Second
	})
	rows := slowness(s.path)
	got, errs := make([][]reply, len(rows)), make([]error, len(rows))
	var wg sync.WaitGroup
	start := time.Now()
	for i, a := range rows {
		wg.Go(func() { got[i], errs[i] = s.converse(len(strings.Fields(a.want)), a.send) })
	}
	wg.Wait()
	var table strings.Builder
	for i, a := range rows {
		t.Run(a.name, func(t *testing.T) {
			if errs[i] != nil {
				t.Fatal(errs[i])
			}
			table.WriteString(a.row(s.judge(t, a, got[i], 0)))
		})
	}
	t.Logf("%d attacks, all over after %s:%s", len(rows), time.Since(start), table.String())
}

// counted is how often the outcome of an attack has been counted; net/http's
// answers are not.
func (s *stage) counted(t *testing.T, a attack) float64 {
	t.Helper()
	if a.outcome == "" {
		return 0
	}
	return s.count(t, a.outcome)
}

// judge holds the answers against what is wanted, and sees whether the door
// still works.
func (s *stage) judge(t *testing.T, a attack, replies []reply, before float64) string {
	t.Helper()
	want := strings.Fields(a.want)
	var got []string
	for _, r := range replies {
		got = append(got, fmt.Sprint(r.status))
		innocent(t, r, a.outcome != "")
	}
	if len(got) < len(want) {
		got = append(got, "end")
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %.80s, want %.80s", got, a.want)
	}
	if a.outcome != "" {
		eventually(t, "it is counted as "+a.outcome, func() bool { return s.count(t, a.outcome) > before })
	}
	after := s.raw(t, 1, whole(good("POST", s.path, "Connection: close")))
	if len(after) != 1 || after[0].status != http.StatusOK {
		t.Errorf("%+v for a good delivery afterwards", after)
	}
	return strings.Join(got, " ")
}

// innocent wants an answer to say nothing but its status; ours is that of the
// door, else net/http's own.
func innocent(t *testing.T, r reply, ours bool) {
	t.Helper()
	if text := fmt.Sprint(r.header) + r.body; strings.Contains(text, "SECRET") {
		t.Errorf("a secret is told: %s", text)
	}
	if (r.header.Get("Allow") == "POST") != (r.status == http.StatusMethodNotAllowed) {
		t.Errorf("status %d, Allow: %q", r.status, r.header.Get("Allow"))
	}
	want := http.StatusText(r.status) + "\n"
	if r.status == http.StatusOK {
		want = "{}"
	}
	if ours && r.body != want {
		t.Errorf("body %q, want %q", r.body, want)
	}
}
