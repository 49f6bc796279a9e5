package config

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/rescindhq/rescind/subscriptions"
)

// checkURL wants a scheme of these and a host; no password and no query, which
// is why its problems do not repeat the text. It returns nil if it added one.
func checkURL(path, text string, schemes []string, p *problems) *url.URL {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || !slices.Contains(schemes, u.Scheme) {
		p.add(path, "must be %s://host:port", strings.Join(schemes, ":// or "))
		return nil
	}
	if _, has := u.User.Password(); has {
		p.add(path, "must not hold a password; it has a field of its own")
		return nil
	}
	if u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		p.add(path, "must not have a query or fragment")
		return nil
	}
	return u
}

// checkWeb wants https, or http if the host is loopback.
func checkWeb(path, text string, p *problems) {
	u := checkURL(path, text, []string{"https", "http"}, p)
	switch {
	case u == nil:
	case u.User != nil:
		p.add(path, "must not hold a user")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		p.add(path, "must be https unless its host is loopback; got http://%s", u.Host)
	}
}

// checkAddrs wants two addresses of a service that can be listened on at once.
func checkAddrs(section, addr, admin string, p *problems) {
	checkAddr(section+".addr", addr, p)
	checkAddr(section+".admin_addr", admin, p)
	if addr != "" && addr == admin && !strings.HasSuffix(addr, ":0") {
		p.add(section+".admin_addr", "must differ from %s.addr; got %s for both", section, addr)
	}
}

func checkAddr(path, addr string, p *problems) {
	if addr == "" {
		return
	}
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		p.add(path, "must be host:port; got %q", addr)
	}
}

func checkKey(path string, key subscriptions.Secret, p *problems) {
	if n := len(key.Reveal()); n > 0 && n < minKey {
		p.add(path, "must have at least %d characters", minKey)
	}
}

func checkRange(path string, n, least, most int, p *problems) {
	if n < least || n > most {
		p.add(path, "must be %d to %d; got %d", least, most, n)
	}
}

func checkOneOf(path, text string, allowed []string, p *problems) {
	if text != "" && !slices.Contains(allowed, text) {
		p.add(path, "must be one of %s; got %.40q", strings.Join(allowed, ", "), text)
	}
}
