package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestProbe(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		wrong  bool
	}{
		"ready":     {http.StatusOK, false},
		"not ready": {http.StatusServiceUnavailable, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(strings.Repeat("x", 10_000)))
			}))
			defer s.Close()
			var out strings.Builder
			if err := probe(s.URL, &out); (err != nil) != tc.wrong {
				t.Errorf("error %v", err)
			}
			if out.Len() != 4<<10 {
				t.Errorf("%d bytes shown, want the first 4 KiB", out.Len())
			}
		})
	}
	if err := probe("http://127.0.0.1:1/", &strings.Builder{}); err == nil {
		t.Error("nobody answers, and it is content")
	}
}
