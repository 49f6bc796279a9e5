package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/events/stream"
)

type eventsCmd struct {
	List eventsListCmd `cmd:"" help:"List changes, oldest first."`
}

type eventsListCmd struct {
	Since    time.Duration `placeholder:"2h" help:"Only what was published within this time."`
	Provider string        `help:"Only this provider; needs --tenant too."`
	Tenant   string        `help:"Only this tenant; needs --provider too."`
	Limit    int           `default:"0" help:"At most so many; 0 is no limit."`
	JSON     bool          `name:"json" help:"Print one JSON object a line."`

	Nats        string `default:"nats://127.0.0.1:4222" env:"RESCIND_NATS_URL" help:"Where NATS is (${default})."`
	Credentials string `env:"RESCIND_NATS_CREDENTIALS" help:"Path of a .creds file."`
	User        string `env:"RESCIND_NATS_USER" help:"Name to log in with; the password comes from NATS_PASSWORD."`
	Password    string `env:"NATS_PASSWORD" hidden:""`
	TLSCA       string `name:"tls-ca" env:"RESCIND_NATS_TLS_CA" help:"Path of the authorities that sign the server's certificate."`
}

// Help is what --help adds.
func (eventsListCmd) Help() string {
	return `Examples:
  rescind events list --nats nats://127.0.0.1:4223
  rescind events list --since 2h --provider ringcentral --tenant 37439510 --json`
}

// Run reads the stream and touches no consumer.
func (c eventsListCmd) Run(ctx context.Context, t terminal) error {
	if (c.Provider == "") != (c.Tenant == "") {
		return errors.New("--provider and --tenant go together")
	}
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	nc, err := stream.Connect(limited, stream.ConnectOptions{
		URL: c.Nats, Name: "rescind-events", CredentialsFile: c.Credentials, User: c.User,
		Password: c.Password, CAFile: c.TLSCA,
	})
	if err != nil {
		return err
	}
	defer nc.Close()
	s, err := stream.Attach(nc)
	if err != nil {
		return err
	}
	o := stream.ReadOptions{Limit: c.Limit}
	o.Home = events.Home{Provider: events.Provider(c.Provider), Tenant: events.Tenant(c.Tenant)}
	if c.Since > 0 {
		o.Since = time.Now().Add(-c.Since)
	}
	w := bufio.NewWriter(t.out)
	write := c.row
	if c.JSON {
		write = c.line
	} else {
		fmt.Fprintf(w, rowFormat, "SEQ", "TIME", "TENANT", "SOURCE", "ID", "TAGS")
	}
	if err := s.Read(ctx, o, func(m stream.Stored) error { return write(w, m) }); err != nil {
		return err
	}
	return w.Flush()
}

// rowFormat has fixed widths, so that a table of millions streams.
const rowFormat = "%-8v %-24s %-28s %-8s %-60s %s\n"

func (eventsListCmd) row(w io.Writer, m stream.Stored) error {
	at := m.Time.UTC().Format("2006-01-02T15:04:05.000Z")
	if m.DecodeErr != nil {
		_, err := fmt.Fprintf(w, rowFormat, m.Sequence, at, "?", "?", "?", "unreadable: "+quoted(m.DecodeErr.Error()))
		return err
	}
	_, err := fmt.Fprintf(w, rowFormat, m.Sequence, at, quoted(m.Change.Home.String()),
		quoted(string(m.Change.Source)), quoted(m.Change.ID), tagList(m.Change))
	return err
}

// quoted keeps a vendor's id from playing with the terminal.
func quoted(s string) string { return strings.Trim(fmt.Sprintf("%q", s), `"`) }

func tagList(c events.Change) string {
	words := make([]string, 0, 6)
	for i, t := range c.Tags {
		if i == 5 {
			words = append(words, fmt.Sprintf("and %d more", len(c.Tags)-i))
			break
		}
		words = append(words, quoted(t.String()))
	}
	if len(c.Reasons) > 0 {
		words = append(words, "("+quoted(strings.Join(c.Reasons, ", "))+")")
	}
	return strings.Join(words, " ")
}

func (eventsListCmd) line(w io.Writer, m stream.Stored) error {
	v := map[string]any{"sequence": m.Sequence, "time": m.Time.UTC(), "subject": m.Subject, "size": m.Size}
	if m.DecodeErr != nil {
		v["error"] = m.DecodeErr.Error()
	} else {
		c := m.Change
		v["id"], v["provider"], v["tenant"], v["tags"] = c.ID, c.Provider, c.Tenant, c.Tags
		v["source"], v["reasons"], v["received"] = c.Source, c.Reasons, c.Received.UTC()
	}
	return json.NewEncoder(w).Encode(v)
}
