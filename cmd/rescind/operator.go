package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/events"
)

// The calls that a worker serves for operators, and their bounds.
const (
	verifyPath  = "/v1/verify"
	verifyLimit = 30 * time.Second // the worker takes 20 s at most
	maxAnswer   = 16 << 20         // bytes; 5,000 grants and reasons on either side
)

// workerFlags say where a worker answers.
type workerFlags struct {
	Worker string `default:"http://127.0.0.1:8081" env:"RESCIND_ASK_URL" help:"Where the worker answers (${default})."`
	Token  string `env:"RESCIND_ASK_TOKEN" help:"Bearer token; better given by the environment."`
}

// post asks the worker. What it says of a refusal is repeated.
func (f workerFlags) post(ctx context.Context, path string, question, answer any) error {
	u, err := url.Parse(f.Worker)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return errors.New("--worker: want http://host:port") // it may hold a password
	}
	body, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("ask the worker: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost,
		strings.TrimRight(u.String(), "/")+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask the worker: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	if f.Token != "" {
		r.Header.Set("Authorization", "Bearer "+f.Token)
	}
	client := http.Client{CheckRedirect: noRedirect}
	defer client.CloseIdleConnections()
	resp, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("ask the worker (--worker says where it is): %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the worker's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return refusedBy(resp.StatusCode, text)
	}
	if json.Unmarshal(text, answer) != nil {
		return errors.New("the worker's answer cannot be read")
	}
	return nil
}

// verification is what the worker is asked of an entry.
type verification struct {
	Provider events.Provider `json:"provider"`
	Tenant   events.Tenant   `json:"tenant"`
	Subject  events.Subject  `json:"subject"`
	Resource events.Resource `json:"resource"`
	Level    string          `json:"level"`
}

// verified is its answer. What is nil is not there, or not known.
type verified struct {
	Cached      *shownEntry      `json:"cached"`
	Provider    *shownFacts      `json:"provider"`
	Error       string           `json:"error"`
	Differences []difference     `json:"differences"`
	Match       bool             `json:"match"`
	Changed     bool             `json:"changed"`
	Feed        events.FeedState `json:"feed"`
}

// difference is a field that differs: a grant, why/ and a grant, or _covers.
type difference struct {
	Grant    string  `json:"grant"`
	Cached   *string `json:"cached"`
	Provider *string `json:"provider"`
}

type shownFacts struct {
	Basis  string                 `json:"basis"`
	Covers []cache.Kind           `json:"covers"`
	Grants map[cache.Grant]string `json:"grants"`
	Why    map[cache.Grant]string `json:"why,omitempty"`
	Tags   []string               `json:"tags"`
}

func (f shownFacts) facts() cache.Facts {
	return cache.Facts{Basis: f.Basis, Covers: f.Covers, Grants: f.Grants, Why: f.Why}
}

type shownEntry struct {
	shownFacts
	AsOf      time.Time     `json:"as_of"`
	Until     time.Time     `json:"until,omitzero"`
	Version   cache.Version `json:"version,string"`
	Confirmed bool          `json:"confirmed"`
	Fetched   bool          `json:"fetched"`
	Stored    bool          `json:"stored"`
}
