package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// certificate is one for this machine, signed by itself, and the file that has it.
func certificate(t *testing.T) (cert tls.Certificate, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true,
		BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// A server that wants TLS and a login is reached by flags, by the environment, and by
// the services' file.
func TestNATSIsReachedWithTLSAndALogin(t *testing.T) {
	cert, ca := certificate(t)
	const password = "nats-hunter2"
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, JetStream: true,
		StoreDir: t.TempDir(), Username: "fred", Password: password, TLS: true, TLSTimeout: 5,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer func() {
		s.Shutdown()
		s.WaitForShutdown()
	}()
	if !s.ReadyForConnections(limit) {
		t.Fatal("the server is not ready")
	}
	url := "tls://" + s.Addr().String()
	file := filepath.Join(t.TempDir(), "rescind.yml")
	text := "nats: {url: \"" + url + "\", user: fred, password: \"env:T_PASSWORD\", tls_ca: \"" + ca + "\"}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		variable string // of the password
		args     []string
		says     string
	}{
		"flags":              {"NATS_PASSWORD", []string{"--nats", url, "--user", "fred", "--tls-ca", ca}, "no listener has run"},
		"the file":           {"T_PASSWORD", []string{"--config", file}, "no listener has run"},
		"an unknown user":    {"NATS_PASSWORD", []string{"--nats", url, "--user", "eve", "--tls-ca", ca}, "Authorization"},
		"no word of a login": {"X", []string{"--nats", url, "--tls-ca", ca}, "Authorization"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(c.variable, password)
			code, out, problems := rescind(append([]string{"subscriptions", "list"}, c.args...)...)
			if code != 1 || out != "" || !strings.Contains(problems, c.says) || strings.Contains(problems, password) {
				t.Errorf("exit status %d, %s%s; want %q", code, out, problems, c.says)
			}
		})
	}
}
