package listen_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/events/natslocal"
	"github.com/rescindhq/rescind/subscriptions/listen"
)

// request is the head of one, with its length unless that is negative.
func request(method, path string, length int, headers ...string) string {
	s := method + " " + path + " HTTP/1.1\r\nHost: l\r\n"
	if length >= 0 {
		s += fmt.Sprintf("Content-Length: %d\r\n", length)
	}
	for _, h := range headers {
		s += h + "\r\n"
	}
	return s + "\r\n"
}

// chunked is a body in chunks of n bytes.
func chunked(body string, n int) string {
	var b strings.Builder
	for len(body) > 0 {
		c := body[:min(n, len(body))]
		body = body[len(c):]
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(c), c)
	}
	return b.String() + "0\r\n\r\n"
}

// whole writes a text; that it is cut short by the answer is no fault.
func whole(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}

// drip writes a head, then a byte at a time until the other side is fed up.
func drip(head string) func(net.Conn) {
	return func(c net.Conn) {
		_, err := io.WriteString(c, head)
		for err == nil {
			<-time.After(10 * time.Millisecond)
			_, err = c.Write([]byte("{"))
		}
	}
}

// cut writes a text and then closes its side.
func cut(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, text)
		_ = c.(*net.TCPConn).CloseWrite()
	}
}

const auth = "Verification-Token: " + token

// hostile is what a stranger sends, and what comes of it.
type hostile struct {
	send    func(net.Conn)
	status  int    // 0: closed without an answer
	outcome string // empty: net/http answers before us
}

// badBodies come from who knows the address and the token.
func badBodies(path string) map[string]hostile {
	const foreign = `{"event":"/restapi/v1.0/account/1/extension"}`
	ok, big := notice("u", "42"), strings.Repeat("x", 10<<20)
	return map[string]hostile{
		"truncated JSON":    {whole(request("POST", path, 20, auth) + ok[:20]), 400, "unreadable"},
		"not JSON":          {whole(request("POST", path, 6, auth) + "SECRET"), 400, "unreadable"},
		"another account's": {whole(request("POST", path, len(foreign), auth) + foreign), 400, "unreadable"},
		"a body cut short":  {cut(request("POST", path, 999, auth) + ok), 400, "unreadable"},
		"10 MB announced":   {whole(request("POST", path, len(big), auth) + big), 413, "too_large"},
		"10 MB in chunks": {whole(request("POST", path, -1, auth, "Transfer-Encoding: chunked") +
			chunked(big, 64<<10)), 413, "too_large"},
		"a body that drips":       {drip(request("POST", path, 4096, auth)), 408, "slow"},
		"a body that never comes": {whole(request("POST", path, 4096, auth)), 408, "slow"},
		"headers that drip":       {drip("POST " + path + " HTTP/1.1\r\nHost: l\r\nX: "), 0, ""},
		"a broken chunk": {whole(request("POST", path, -1, auth, "Transfer-Encoding: chunked") + "zz\r\n" + ok),
			400, "unreadable"},
	}
}

// badHeads have a wrong address, method, token or header.
func badHeads(path string) map[string]hostile {
	ok, long := notice("u", "42"), strings.Repeat("SECRET", 20<<10/6)
	return map[string]hostile{
		"no token": {whole(request("POST", path, len(ok)) + ok), 401, "refused"},
		"a wrong token": {whole(request("POST", path, len(ok), auth+"x") + ok),
			401, "refused"},
		"a token that is too long to echo": {whole(request("POST", path, 0, "Validation-Token: "+long[:2000])),
			400, "unreadable"},
		"an unknown part":         {whole(request("POST", path+"x", len(ok), auth) + ok), 404, "unknown"},
		"a part cut short":        {whole(request("POST", path[:len(path)-1], len(ok), auth) + ok), 404, "unknown"},
		"an unknown provider":     {whole(request("POST", "/hooks/box/"+part, len(ok), auth) + ok), 404, "unknown"},
		"no provider":             {whole(request("POST", "/hooks/"+part, len(ok), auth) + ok), 404, "unknown"},
		"a slash too much":        {whole(request("POST", path+"/", len(ok), auth) + ok), 404, "unknown"},
		"a path that climbs":      {whole(request("POST", "/hooks/ringcentral/.."+path, 0, auth)), 404, "unknown"},
		"the root":                {whole(request("GET", "/", -1)), 404, "unknown"},
		"everything":              {whole(request("OPTIONS", "*", -1)), 404, "unknown"},
		"GET":                     {whole(request("GET", path, -1, auth)), 405, "method"},
		"PUT":                     {whole(request("PUT", path, len(ok), auth) + ok), 405, "method"},
		"GET somewhere":           {whole(request("GET", path+"x", -1, auth)), 404, "unknown"},
		"huge headers":            {whole(request("POST", path, len(ok), auth, "X: "+long+long) + ok), 431, ""},
		"a header without a name": {whole(request("POST", path, len(ok), ": x") + ok), 400, ""},
		"two lengths":             {whole(request("POST", path, len(ok), auth, "Content-Length: 1") + ok), 400, ""},
		"a negative length":       {whole(request("POST", path, -1, auth, "Content-Length: -1") + ok), 400, ""},
	}
}

func TestHostileDeliveries(t *testing.T) {
	b := newBroker(t, natslocal.Options{})
	s := open(t, listen.Config{Publisher: toStream{b.Stream}}, ringCentral(t), func(srv *http.Server) {
		srv.ReadHeaderTimeout, srv.ReadTimeout = time.Second, 2*time.Second
	})
	cases := badBodies(s.path)
	maps.Copy(cases, badHeads(s.path))
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { s.suffer(t, c) })
	}
	if got := b.stored(t); len(got) != 0 {
		t.Errorf("published %v", got)
	}
	if got := s.post(t, notice("u", "42")); got != 200 {
		t.Errorf("status %d for a good delivery afterwards", got)
	}
}

// suffer sends it and holds the answer and the log line against it.
func (s *stage) suffer(t *testing.T, c hostile) {
	t.Helper()
	before := len(s.log.lines(t))
	status, allow, body := s.raw(t, c.send)
	if status != c.status {
		t.Fatalf("status %d, want %d", status, c.status)
	}
	if (allow == "POST") != (status == 405) {
		t.Errorf("Allow: %q", allow)
	}
	if c.outcome == "" {
		return
	}
	if want := http.StatusText(status) + "\n"; body != want {
		t.Errorf("body %q, want %q", body, want)
	}
	eventually(t, "its line is logged", func() bool { return len(s.log.lines(t)) > before })
	if l := s.log.lines(t)[before]; l.Outcome != c.outcome || l.Error != "" {
		t.Errorf("logged %+v, want outcome %s", l, c.outcome)
	}
}

// raw sends in its own way and reads one answer.
func (s *stage) raw(t *testing.T, send func(net.Conn)) (status int, allow, body string) {
	t.Helper()
	c, err := net.Dial("tcp", s.host)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		send(c)
	}()
	defer func() {
		c.Close()
		receive(t, sent, "end of sending")
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		return 0, "", ""
	}
	if err != nil {
		t.Fatalf("read answer: %v", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read answer: %v", err)
	}
	return resp.StatusCode, resp.Header.Get("Allow"), string(text)
}

// A vendor may send a body without its length.
func TestChunksWithoutLengthArePublished(t *testing.T) {
	b := newBroker(t, natslocal.Options{})
	s := open(t, listen.Config{Publisher: toStream{b.Stream}}, ringCentral(t), nil)
	status, _, body := s.raw(t, whole(request("POST", s.path, -1, "Verification-Token: "+token,
		"Transfer-Encoding: chunked", "Connection: close")+chunked(notice("u", "42"), 7)))
	if status != 200 || body != "{}" {
		t.Errorf("%d %q", status, body)
	}
	if _, ok := b.stored(t)[changeID("u")]; !ok {
		t.Error("not stored")
	}
}

func TestAHandshakeIsAnsweredInLessThan1024Bytes(t *testing.T) {
	s := open(t, listen.Config{Publisher: toStream{}}, ringCentral(t), nil)
	c, err := net.Dial("tcp", s.host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	echo := strings.Repeat("v", 512) // the longest that is echoed
	whole(request("POST", s.path, 0, "Validation-Token: "+echo, "Connection: close"))(c)
	text, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"HTTP/1.1 200 OK\r\n", "\r\nContent-Type: application/json\r\n",
		"\r\nValidation-Token: " + echo + "\r\n", "\r\n\r\n{}"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if len(text) > 1024 {
		t.Errorf("%d bytes", len(text))
	}
	if l := s.log.lines(t); len(l) != 1 || l[0].Outcome != "handshake" {
		t.Errorf("logged %+v", l)
	}
}
