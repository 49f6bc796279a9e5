package listen_test

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions/listen"
)

// targets have a wrong address or method, or a strange form of the right one.
func targets(path string) []attack {
	to := func(target string) func(net.Conn) { return whole(good("POST", target)) }
	by := func(method string) func(net.Conn) { return whole(good(method, path)) }
	lost := map[string]string{
		"an unknown part":               path + "x",
		"a part cut short":              path[:len(path)-1],
		"an empty part":                 "/hooks/ringcentral/",
		"an unknown provider":           "/hooks/box/" + part,
		"no provider":                   "/hooks/" + part,
		"another part of the same kind": "/hooks/ringcentral/" + strings.Repeat("0", len(part)),
		"a slash too much":              path + "/",
		"two slashes":                   "/" + path,
		"two slashes within":            strings.Replace(path, "/r", "//r", 1),
		"a path that climbs":            "/hooks/ringcentral/.." + path,
		"a path that climbs in codes":   "/hooks/x/%2e%2e/ringcentral/" + part,
		"a point too much":              "/./hooks/ringcentral/" + part,
		"another case":                  strings.ToUpper(path),
		"a case of the provider":        strings.Replace(path, "ringcentral", "RingCentral", 1),
		"a NUL behind it":               path + "%00",
		"a blank behind it":             path + "%20",
		"a semicolon behind it":         path + ";x",
		"a fragment":                    path + "#x",
		"the root":                      "/",
		"a metric's path":               "/metrics",
		"a file":                        "/.env",
		"a slash in codes, twice":       strings.Replace(path, "/ring", "%252fring", 1),
		"the other's part, our provider's name in front": "/hooks/ringcentral/ringcentral/" + otherPart,
	}
	var all []attack
	for _, name := range slices.Sorted(maps.Keys(lost)) {
		all = append(all, attack{name, to(lost[name]), "404", "unknown"},
			attack{name + ", GET", whole(request("GET", lost[name], -1)), "404", "unknown"})
	}
	for _, method := range []string{"GET", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "post", "CONNECT",
		"X"} {
		all = append(all, attack{method, by(method), "405", "method"})
	}
	return append(all, []attack{
		{"a slash in codes", to(strings.Replace(path, "/ring", "%2fring", 1)), "200", "duplicate"},
		{"the address in codes", to(strings.Replace(path, "ring", "%72ing", 1)), "200", "duplicate"},
		{"a query", to(path + "?a=b"), "200", "duplicate"},
		{"an absolute target", to("http://l" + path), "200", "duplicate"},
		{"an absolute target elsewhere", to("http://evil.invalid" + path), "200", "duplicate"},
		{"everything", whole(request("OPTIONS", "*", -1)), "404", "unknown"},
		{"a tunnel", whole(request("CONNECT", "evil.invalid:443", -1)), "404", "unknown"},
		{"a broken code", to(path + "%zz"), "400", ""},
		{"a blank in the target", to(path + " x"), "400", ""},
		{"a target of 64 KiB", to(path + strings.Repeat("x", 64<<10)), "431", ""},
		{"another method in a header", whole(good("GET", path, "X-HTTP-Method-Override: POST")), "405", "method"},
		{"another tenant's address", to("/hooks/ringcentral/" + otherPart), "401", "refused"},
		{"another tenant's notice with its token", whole(otherTenants()), "400", "unreadable"},
	}...)
}

// otherTenants is our tenant's notice, at the address and with the token of
// another.
func otherTenants() string {
	body := notice("u", "42")
	return request("POST", "/hooks/ringcentral/"+otherPart, len(body), "Verification-Token: "+otherToken) + body
}

// heads have a wrong token, or strange headers.
func heads(path string) []attack {
	ok, long := notice("u", "42"), strings.Repeat("SECRET", 20<<10/6)
	bare := func(headers ...string) func(net.Conn) {
		return whole(request("POST", path, len(ok), headers...) + ok)
	}
	also := func(headers ...string) func(net.Conn) { return whole(good("POST", path, headers...)) }
	return []attack{
		{"no token", bare(), "401", "refused"},
		{"an empty token", bare("Verification-Token:"), "401", "refused"},
		{"a wrong token", bare(auth + "x"), "401", "refused"},
		{"a token in another case", bare(strings.ToLower(auth)), "401", "refused"},
		{"another tenant's token", bare("Verification-Token: " + otherToken), "401", "refused"},
		{"the wrong token, then the right one", bare("Verification-Token: x", auth), "401", "refused"},
		{"the right token, then a wrong one", bare(auth, "Verification-Token: x"), "200", "duplicate"},
		{"a list of tokens", bare(auth + ", x"), "401", "refused"},
		{"a token over two lines", bare("Verification-Token: "+token[:9], " "+token[9:]), "401", "refused"},
		{"a token that breaks off at NUL", bare(auth + "\x00"), "400", ""},
		{"a blank before the colon", bare(strings.Replace(auth, ":", " :", 1)), "400", ""},
		{"a handshake with a body", bare("Validation-Token: x"), "401", "refused"},
		{"a token that is too long to echo", whole(request("POST", path, 0, "Validation-Token: "+long[:2000])),
			"400", "unreadable"},
		{"a token that would split the answer", whole(request("POST", path, 0,
			"Validation-Token: a\rSet-Cookie: b")),
			"400", ""},
		{"huge headers", also("X: " + long + long), "431", ""},
		{"10,000 headers", also(strings.TrimSpace(strings.Repeat("X: y\r\n", 10_000))), "431", ""},
		{"a header without a name", also(": x"), "400", ""},
		{"a name that is none", also("X{}: x"), "400", ""},
		{"two hosts", also("Host: evil.invalid"), "400", ""},
		{"a wish that is unknown", also("Expect: the-unexpected"), "417", ""},
		{"a forwarded address", also("X-Forwarded-For: 127.0.0.1", "X-Original-URL: /metrics"), "200", "duplicate"},
		{"an upgrade", also("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
			"200", "duplicate"},
	}
}

// protocols are other versions, several requests at once, and no HTTP at all.
func protocols(path string) []attack {
	one, bad := good("POST", path), good("POST", path+"x")
	version := func(v string) func(net.Conn) { return whole(strings.Replace(one, "HTTP/1.1", v, 1)) }
	return []attack{
		{"HTTP/1.0", version("HTTP/1.0"), "200 end", "duplicate"},
		{"HTTP/1.0 in chunks", whole(strings.Replace(request("POST", path, -1, auth, "Transfer-Encoding: chunked"),
			"HTTP/1.1", "HTTP/1.0", 1) + chunked(notice("u", "42"), 10)), "200 end", "nothing"},
		{"HTTP/3.7", version("HTTP/3.7"), "505", ""},
		{"a version in lower case", version("http/1.1"), "400", ""},
		{"no version", whole("POST " + path + "\r\n\r\n"), "400", ""},
		{"no host", whole(strings.Replace(one, "Host: l\r\n", "", 1)), "400", ""},
		{"HTTP/2 with prior knowledge",
			whole("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
			"404 end", "unknown"},
		{"a hello of TLS", whole("\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + strings.Repeat("\x00", 200) +
			"\n"),
			"400", ""},
		{"SSH", whole("SSH-2.0-OpenSSH_9.6\r\n"), "400", ""},
		{"only line ends", cut(strings.Repeat("\r\n", 1000)), "400", ""},
		{"an end at once", cut(""), "end", ""},
		{"half a request line", cut("POST " + path), "400", ""},
		{"three at once", whole(one + one + one), "200 200 200", "duplicate"},
		{"a forged one, then a good one", whole(strings.Replace(one, token, "x", 1) + one), "401 200", "refused"},
		{"a stranger's, then a good one", whole(bad + one), "404 end", "unknown"},
		{"one too large, then a good one", whole(request("POST", path, 5<<20, auth) + strings.Repeat(" ",
			5<<20) + one),
			"413 end", "too_large"},
		{"one hidden in a body", whole(request("POST", path, 4, auth, "Transfer-Encoding: chunked") +
			"0\r\n\r\n" + bad), "200 404", "nothing"},
	}
}

// Whoever probes addresses learns nothing: a provider that is there and one
// that is not, a tenant's and nobody's give the same bytes. Nor does the time
// tell: the whole address is hashed and compared with that of every door, see
// the package's manual.
func TestAProbeLearnsNothing(t *testing.T) {
	other := listen.Door{Home: otherHome, Path: otherPart, Door: ringCentralOf(t, otherHome, otherToken)}
	third := events.Home{Provider: "ringcentral-support", Tenant: "99"}
	s := open(t, listen.Config{Publisher: toStream{}, Doors: []listen.Door{other,
		{Home: third, Path: otherPart, Door: ringCentralOf(t, third, otherToken)}}}, ringCentral(t), nil)
	guess := strings.Repeat("0", len(part))
	for _, method := range []string{"POST", "GET", "OPTIONS", "DELETE"} {
		for _, headers := range [][]string{{}, {auth}, {"Validation-Token: x"}, {"Expect: 100-continue"}} {
			for _, body := range []string{"", notice("u", "42")} {
				var first []reply
				for _, path := range []string{
					"/hooks/ringcentral/" + guess, "/hooks/box/" + guess, "/hooks/box/" + part,
					"/hooks/ringcentral-support/" + part,
					"/hooks/ringcentral/" + part[:len(part)-1] + "0", "/hooks/ringcentral/37439510", "/", "/x",
				} {
					got := s.raw(t, 1, whole(request(method, path, len(body), headers...)+body))
					if len(got) != 1 || got[0].status != http.StatusNotFound || got[0].header.Get("Date") == "" {
						t.Fatalf("%s %s: %+v", method, path, got)
					}
					got[0].header.Del("Date")
					if first == nil {
						first = got
					}
					if diff := cmp.Diff(fmt.Sprint(first), fmt.Sprint(got)); diff != "" {
						t.Errorf("%s %s tells itself from others:\n%s", method, path, diff)
					}
				}
			}
		}
	}
	for target, want := range map[string]int{s.url: http.StatusMethodNotAllowed, s.url +
		"x": http.StatusNotFound} {
		if resp, err := s.client.Head(target); err != nil || resp.StatusCode != want {
			t.Errorf("HEAD: %+v, %v, want %d", resp, err, want)
		}
	}
	for text := range strings.Lines(s.log.String()) {
		if strings.Contains(text, `"outcome":"method"`) {
			continue // the HEAD at our address
		}
		if !strings.Contains(text, `"outcome":"unknown"`) || !strings.Contains(text, `"level":"DEBUG"`) {
			t.Errorf("logged %s", text)
		}
	}
}
