package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
)

// The bounds of what is told of a token.
const (
	tokensPath = "/v1/tokens"
	tellLimit  = 15 * time.Second
	maxTold    = 64 << 10 // bytes, of the reply of a token exchange and of the worker's answer
)

type tokensCmd struct {
	Put tokensPutCmd `cmd:"" help:"Tell of an access token that an app has narrowed for itself."`
}

type tokensPutCmd struct {
	Provider string   `arg:"" help:"The provider's configured name."`
	Tenant   string   `arg:"" help:"Account, enterprise or workspace."`
	Subject  string   `arg:"" help:"The id of the user whose token it is."`
	Rest     []string `arg:"" optional:"" name:"nothing-more" help:"The reply is no argument."`

	Worker string `default:"http://127.0.0.1:8081" env:"RESCIND_ASK_URL" help:"Where the worker answers (${default})."`
	Token  string `env:"RESCIND_ASK_TOKEN" help:"Bearer token; better given by the environment."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Help is what --help adds.
func (tokensPutCmd) Help() string {
	return `The reply of the token exchange is read from standard input, as it came. Its scopes are kept until
the token ends, the token itself is not. What is printed is the resource under which they are asked for.

Examples:
  rescind tokens put box 987 42 < reply.json
  rescind check box 987 42 scope/item_preview --resource "$(rescind tokens put box 987 42 < reply.json)"`
}

// tokenKept is the worker's answer.
type tokenKept struct {
	Resource events.Resource `json:"resource"`
	Until    time.Time       `json:"until"`
}

// Run reads the reply and posts it.
func (c tokensPutCmd) Run(ctx context.Context, t terminal) error {
	if len(c.Rest) > 0 {
		return errors.New("too many arguments; the reply is none: pipe it in")
	}
	reply, err := exchangeReply()
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{
		"provider": c.Provider, "tenant": c.Tenant, "subject": c.Subject, "reply": reply,
	})
	if err != nil {
		return errors.New("standard input: the reply is no JSON") // the error may quote it
	}
	ctx, cancel := context.WithTimeout(ctx, tellLimit)
	defer cancel()
	answer, err := c.post(ctx, body)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(t.out).Encode(answer)
	}
	_, err = fmt.Fprintln(t.out, quoted(string(answer.Resource)))
	return err
}

// exchangeReply reads standard input.
func exchangeReply() (json.RawMessage, error) {
	if info, err := os.Stdin.Stat(); err == nil && info.Mode()&fs.ModeCharDevice != 0 {
		return nil, errors.New("a terminal would show the token: pipe the reply in")
	}
	b, err := io.ReadAll(io.LimitReader(os.Stdin, maxTold+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("standard input: %w", err)
	case len(bytes.TrimSpace(b)) == 0:
		return nil, errors.New("standard input: there is no reply of a token exchange")
	case len(b) > maxTold:
		return nil, fmt.Errorf("standard input: over %d bytes", maxTold)
	}
	return b, nil
}

// post tells the worker. What it says of a refusal is repeated.
func (c tokensPutCmd) post(ctx context.Context, body []byte) (answer tokenKept, err error) {
	u, err := url.Parse(c.Worker)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return tokenKept{}, errors.New("--worker: want http://host:port") // it may hold a password
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost,
		strings.TrimRight(u.String(), "/")+tokensPath, bytes.NewReader(body))
	if err != nil {
		return tokenKept{}, fmt.Errorf("tell the worker: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	if c.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.Token)
	}
	client := http.Client{CheckRedirect: noRedirect}
	defer client.CloseIdleConnections()
	resp, err := client.Do(r)
	if err != nil {
		return tokenKept{}, fmt.Errorf("tell the worker: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxTold))
	if err != nil {
		return tokenKept{}, fmt.Errorf("read the worker's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return tokenKept{}, refusedBy(resp.StatusCode, text)
	}
	if json.Unmarshal(text, &answer) != nil || answer.Resource == "" {
		return tokenKept{}, errors.New("the worker's answer cannot be read")
	}
	return answer, nil
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// refusedBy repeats why the worker refuses, if it says so in its own way.
func refusedBy(status int, body []byte) error {
	var why string
	if json.Unmarshal(body, &why) != nil {
		return fmt.Errorf("the worker refuses: status %d", status)
	}
	return fmt.Errorf("the worker refuses: status %d: %s", status, quoted(why[:min(len(why), 1<<10)]))
}
