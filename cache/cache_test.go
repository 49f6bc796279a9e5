package cache_test

import (
	"strings"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
)

var home = events.Home{Provider: "ringcentral", Tenant: "37439510"}

func ref(subject, resource string) events.Ref {
	return events.Ref{Home: home, Subject: events.Subject(subject), Resource: events.Resource(resource)}
}

// nasty are ids as vendors may make them.
var nasty = []string{
	"42", "a:b", "a%3Ab", "{x}", "}", "%", "%2", "e", "p:1", "a b", "*", "a/b", "a\nb\x00\x7f", "Größe/ü", "日本語",
	"\U0001F511", strings.Repeat(":", events.MaxID), strings.Repeat("ü", events.MaxID/2),
}

const (
	read  cache.Grant = "permission/ReadMessages"
	write cache.Grant = "permission/EditMessages"
	scope cache.Grant = "scope/ReadAccounts"
	fax   cache.Grant = "feature/FaxSending"
)
