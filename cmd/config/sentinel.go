package config

import (
	"errors"
	"net"
	"strconv"
	"strings"
)

// Sentinel is what a redis-sentinel:// address says:
//
//	redis-sentinel://[user@]host[:26379][,host[:port]...][/database]#primary
type Sentinel struct {
	Primary  string   // its name at the Sentinels
	Addrs    []string // theirs, host:port
	User     string   // at the primary
	Database int
	TLS      bool
}

var errSentinel = errors.New("must be redis-sentinel://host:port,host:port/0#name-of-the-primary")

// Sentinels reads the URL of a Redis under Sentinel; ok is false if it is of
// another kind. Its errors do not show the URL.
func (r Redis) Sentinels() (s Sentinel, ok bool, err error) {
	scheme, rest, _ := strings.Cut(r.URL, "://")
	if scheme != "redis-sentinel" && scheme != "rediss-sentinel" {
		return Sentinel{}, false, nil
	}
	s.TLS = scheme == "rediss-sentinel"
	rest, s.Primary, _ = strings.Cut(rest, "#")
	hosts, database, _ := strings.Cut(rest, "/")
	if user, after, has := strings.Cut(hosts, "@"); has {
		s.User, hosts = user, after
	}
	if strings.Contains(s.User, ":") {
		return Sentinel{}, true, errors.New("must not hold a password; it has a field of its own")
	}
	if database != "" {
		if s.Database, err = strconv.Atoi(database); err != nil || s.Database < 0 {
			return Sentinel{}, true, errors.New("its path must be the number of a database, such as /0")
		}
	}
	for addr := range strings.SplitSeq(hosts, ",") {
		if addr == "" || strings.ContainsAny(addr, " ?") {
			return Sentinel{}, true, errSentinel
		}
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			addr, port = net.JoinHostPort(strings.Trim(addr, "[]"), "26379"), "26379"
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return Sentinel{}, true, errSentinel
		}
		s.Addrs = append(s.Addrs, addr)
	}
	if s.Primary == "" {
		return Sentinel{}, true, errSentinel
	}
	return s, true, nil
}
