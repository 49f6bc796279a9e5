package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/cmd/config"
)

func TestSentinels(t *testing.T) {
	for url, want := range map[string]config.Sentinel{
		"redis-sentinel://a#m": {Primary: "m", Addrs: []string{"a:26379"}},
		"redis-sentinel://worker@a:1,b,[::1]:2/3#the-primary": {
			Primary: "the-primary", Addrs: []string{"a:1", "b:26379", "[::1]:2"}, User: "worker", Database: 3,
		},
		"rediss-sentinel://a:1/#m": {Primary: "m", Addrs: []string{"a:1"}, TLS: true},
	} {
		got, ok, err := config.Redis{URL: url}.Sentinels()
		if diff := cmp.Diff(want, got); diff != "" || !ok || err != nil {
			t.Errorf("%s: %v %v\n%s", url, ok, err, diff)
		}
	}
	if _, ok, err := (config.Redis{URL: "redis://a"}).Sentinels(); ok || err != nil {
		t.Errorf("a plain address: %v, %v", ok, err)
	}
}

func TestSentinelsThatCannotBe(t *testing.T) {
	for url, want := range map[string]string{
		"redis-sentinel://a":                "must be redis-sentinel://host:port",
		"redis-sentinel://#m":               "must be redis-sentinel://host:port",
		"redis-sentinel://a,,b#m":           "must be redis-sentinel://host:port",
		"redis-sentinel://a?x=hunter2#m":    "must be redis-sentinel://host:port",
		"redis-sentinel://a/hunter2#m":      "its path must be the number",
		"redis-sentinel://a:hunter2,b:1/#m": "must be redis-sentinel://host:port",
	} {
		cfg, err := config.Parse([]byte("redis: {url: \""+url+"\"}"), "f", nil)
		if err != nil {
			t.Fatalf("%s: %v", url, err)
		}
		err = cfg.Validate(config.RoleWorker)
		if err == nil || !strings.Contains(err.Error(), "redis.url: "+want) {
			t.Errorf("%s: %v, want redis.url: %s…", url, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the address: %v", err)
		}
	}
}
