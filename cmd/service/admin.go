package service

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// check is one thing that a service needs; an error says what is wrong with it.
type check struct {
	name string
	run  func(context.Context) error
}

// checkLimit bounds all checks of one probe together.
const checkLimit = 2 * time.Second

// readiness runs the checks and returns the text of each.
func readiness(ctx context.Context, checks []check) (texts map[string]string, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	texts = map[string]string{}
	for _, c := range checks {
		texts[c.name] = "ok"
		if cerr := c.run(ctx); cerr != nil {
			texts[c.name] = cerr.Error()
			if err == nil {
				err = fmt.Errorf("%s: %w", c.name, cerr)
			}
		}
	}
	return texts, err
}

// adminServer serves health and metrics, and what the routes add.
func adminServer(
	metrics *prometheus.Registry, checks []check, log *slog.Logger, routes ...func(*http.ServeMux),
) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte("ok\n")) // the asker has gone
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		texts, err := readiness(r.Context(), checks)
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"ready": err == nil, "checks": texts})
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	for _, add := range routes {
		add(mux)
	}
	return newServer(mux, log)
}

// newServer is a server for those we know: bounded all the same.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}
