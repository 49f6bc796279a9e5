package main

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

type replayCmd struct {
	Repair replayRepairCmd `cmd:"" default:"withargs" help:"Publish changes again (default): what they name is dropped and read anew."`
	Verify replayVerifyCmd `cmd:"" help:"Ask the providers about what changes name, and compare; nothing is written."`
}

// replaySelection says which changes are meant.
type replaySelection struct {
	Since    instant  `placeholder:"2h" help:"From what was published so long ago, or at that time (RFC 3339)."`
	Until    instant  `placeholder:"1h" help:"To what was published so long ago, or at that time."`
	FromSeq  uint64   `placeholder:"SEQ" help:"From this sequence."`
	ToSeq    uint64   `placeholder:"SEQ" help:"To this sequence; the last there is, if not given."`
	Provider string   `help:"Only this provider."`
	Tenant   string   `help:"Only this tenant."`
	Tag      []string `placeholder:"KIND:ID" sep:"none" help:"Only what names this tag; several: any of them."`
	Source   string   `help:"Only changes of this source. Replays are left out unless it is replay."`

	tags []events.Tag
}

// check wants to be told from where on.
func (r *replaySelection) check() error {
	r.tags = nil
	for _, text := range r.Tag {
		tag, err := events.ParseTag(text)
		if err != nil {
			return fmt.Errorf("--tag: %w", err)
		}
		r.tags = append(r.tags, tag)
	}
	switch {
	case r.Since.IsZero() && r.FromSeq == 0:
		return errors.New("say from where on: --since or --from-seq")
	case r.ToSeq > 0 && r.ToSeq < r.FromSeq:
		return errors.New("--to-seq is before --from-seq")
	}
	return nil
}

func (r *replaySelection) selection() stream.Selection {
	return stream.Selection{
		Since: r.Since.Time, Until: r.Until.Time, FromSeq: r.FromSeq, ToSeq: r.ToSeq, Tags: r.tags,
		Home:   events.Home{Provider: events.Provider(r.Provider), Tenant: events.Tenant(r.Tenant)},
		Source: events.Source(r.Source),
	}
}

// words are the flags that select the same, from a sequence on to another.
func (r *replaySelection) words(from, to uint64) []string {
	w := []string{"--from-seq", strconv.FormatUint(from, 10), "--to-seq", strconv.FormatUint(to, 10)}
	if !r.Until.IsZero() {
		w = append(w, "--until", r.Until.UTC().Format(time.RFC3339Nano))
	}
	w = appendFlag(w, "--provider", r.Provider)
	w = appendFlag(w, "--tenant", r.Tenant)
	for _, tag := range r.Tag {
		w = appendFlag(w, "--tag", tag)
	}
	return appendFlag(w, "--source", r.Source)
}

func appendFlag(words []string, name, value string) []string {
	if value == "" {
		return words
	}
	return append(words, name, value)
}

// words are the flags that reach the same NATS. An address with a password in it is
// not repeated.
func (f natsFlags) words() []string {
	w := appendFlag(nil, "--config", f.Config)
	if !strings.Contains(f.Nats, "@") {
		w = appendFlag(w, "--nats", f.Nats)
	}
	w = appendFlag(w, "--credentials", f.Credentials)
	w = appendFlag(w, "--user", f.User)
	return appendFlag(w, "--tls-ca", f.TLSCA)
}

// optionalWorker says where a worker answers, if one is to be asked. Its token is
// not repeated anywhere.
type optionalWorker struct {
	Worker string `placeholder:"URL" env:"RESCIND_ASK_URL" help:"Where the worker answers."`
	Token  string `env:"RESCIND_ASK_TOKEN" help:"Bearer token; better given by the environment."`
}

func (o optionalWorker) flags() workerFlags { return workerFlags(o) }

func (o optionalWorker) words() []string {
	if u, err := url.Parse(o.Worker); err != nil || u.User != nil {
		return nil
	}
	return appendFlag(nil, "--worker", o.Worker)
}

// shellLine is a command as it can be pasted into a shell.
func shellLine(words ...string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,+"
	quotes := make([]string, len(words))
	for i, w := range words {
		quotes[i] = w
		if w == "" || strings.Trim(w, plain) != "" {
			quotes[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quotes, " ")
}
