package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events/stream"
)

// reachLimit bounds how long NATS is waited for.
const reachLimit = 10 * time.Second

// natsFlags say how a command reaches NATS: as the services' file says, if there is
// one, but for what is given besides.
type natsFlags struct {
	Config      string `placeholder:"FILE" env:"RESCIND_CONFIG" help:"The services' file: reach NATS as it says."`
	Nats        string `placeholder:"URL" env:"RESCIND_NATS_URL" help:"Where NATS is; without a file nats://127.0.0.1:4222."`
	Credentials string `placeholder:"FILE" env:"RESCIND_NATS_CREDENTIALS" help:"A .creds file."`
	User        string `env:"RESCIND_NATS_USER" help:"Name to log in with; the password comes from NATS_PASSWORD."`
	Password    string `env:"NATS_PASSWORD" hidden:""`
	TLSCA       string `name:"tls-ca" placeholder:"FILE" env:"RESCIND_NATS_TLS_CA" help:"The authorities that sign the server's certificate."`
}

// connect reaches NATS within 10 s. What it returns is only looked at; shut ends it.
func (f natsFlags) connect(ctx context.Context, name string) (s *stream.Stream, shut func(), err error) {
	s, nc, err := f.open(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	return s, nc.Close, nil
}

func (f natsFlags) open(ctx context.Context, name string) (*stream.Stream, *nats.Conn, error) {
	nc, err := f.dial(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	s, err := stream.Attach(nc)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return s, nc, nil
}

func (f natsFlags) dial(ctx context.Context, name string) (*nats.Conn, error) {
	o, err := f.options()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	o.Name = "rescind-" + name
	nc, err := stream.Connect(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("%w (--nats or --config say where it is)", err)
	}
	return nc, nil
}

// options are those of the file, with what is given over it. One way to log in takes
// the place of another.
func (f natsFlags) options() (o stream.ConnectOptions, err error) {
	if f.Config != "" {
		if o, err = fileOptions(f.Config); err != nil {
			return o, err
		}
	}
	if f.Nats != "" {
		o.URL = f.Nats
	}
	if f.TLSCA != "" {
		o.CAFile = f.TLSCA
	}
	if f.Credentials != "" {
		o.CredentialsFile, o.User, o.Password = f.Credentials, "", ""
	}
	if f.User != "" {
		o.CredentialsFile, o.User = f.Credentials, f.User // both are one too many, which Connect says
	}
	if f.Password != "" && o.CredentialsFile == "" {
		o.Password = f.Password
	}
	o.Log = slog.New(slog.DiscardHandler)
	return o, nil
}

// fileOptions are those of the services' file. What else is wrong with that, or not
// given here, does not matter.
func fileOptions(path string) (o stream.ConnectOptions, err error) {
	cfg, err := config.Load(path, os.Environ())
	if err != nil {
		return o, err
	}
	if err := natsProblems(cfg.Validate()); err != nil {
		return o, err
	}
	n := cfg.NATS
	return stream.ConnectOptions{URL: n.URL, CredentialsFile: n.Credentials, User: n.User,
		Password: n.Password.Reveal(), CAFile: n.TLSCA}, nil
}

// natsProblems are those that keep us from NATS: each begins with its field.
func natsProblems(err error) error {
	all, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	var ours []error
	for _, one := range all.Unwrap() {
		field, _, _ := strings.Cut(one.Error(), ":")
		if strings.HasPrefix(field, "nats.") && field != "nats.vault_key" {
			ours = append(ours, one)
		}
	}
	return errors.Join(ours...)
}
