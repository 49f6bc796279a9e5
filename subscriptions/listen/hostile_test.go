package listen_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
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

// reply is one answer as it came over the wire.
type reply struct {
	status int
	header http.Header
	body   string
}

// raw sends in its own way and reads as many answers, or less if the
// connection ends before.
func (s *stage) raw(t *testing.T, answers int, send func(net.Conn)) []reply {
	t.Helper()
	got, err := s.converse(answers, send)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// converse is raw for any goroutine.
func (s *stage) converse(answers int, send func(net.Conn)) (got []reply, err error) {
	c, err := net.Dial("tcp", s.host)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		send(c)
	}()
	defer func() {
		c.Close()
		<-sent // the deadline bounds it
	}()
	for r := bufio.NewReader(c); len(got) < answers; {
		resp, err := http.ReadResponse(r, nil)
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			return got, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read answer: %w", err)
		}
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, fmt.Errorf("read answer: %w", err)
		}
		got = append(got, reply{resp.StatusCode, resp.Header, string(text)})
	}
	return got, nil
}

// A vendor may send a body without its length.
func TestChunksWithoutLengthArePublished(t *testing.T) {
	b := newBroker(t, natslocal.Options{})
	s := open(t, listen.Config{Publisher: toStream{b.Stream}}, ringCentral(t), nil)
	got := s.raw(t, 1, whole(request("POST", s.path, -1, auth,
		"Transfer-Encoding: chunked", "Connection: close")+chunked(notice("u", "42"), 7)))
	if len(got) != 1 || got[0].status != 200 || got[0].body != "{}" {
		t.Errorf("%+v", got)
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
