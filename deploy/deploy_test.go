// Package deploy_test proves that the files of this folder fit the programs
// they run and one another.
package deploy_test

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"go.yaml.in/yaml/v3"

	"github.com/rescindhq/rescind/cmd/config"
	"github.com/rescindhq/rescind/events/stream"
)

// secrets runs secrets.sh and returns the folder it made.
func secrets(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "secrets")
	if out, err := exec.Command("sh", "secrets.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("secrets.sh: %v: %s", err, out)
	}
	return dir
}

func envFile(t *testing.T, path string) map[string]string {
	t.Helper()
	env := map[string]string{}
	for line := range strings.Lines(read(t, path)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			env[name] = value
		}
	}
	return env
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSecrets(t *testing.T) {
	dir := secrets(t)
	if err := exec.Command("sh", "secrets.sh", dir).Run(); err == nil {
		t.Error("it overwrites")
	}
	seen := map[string]bool{}
	for _, name := range []string{"nats", "listener", "worker", "app", "providers"} {
		path := filepath.Join(dir, name+".env")
		for variable, value := range envFile(t, path) {
			seen[value] = true
			if n := len(value); n < 32 && value != "" && variable != "REDIS_USER" {
				t.Errorf("%s: %s has only %d characters", name, variable, n)
			}
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; only the owner may read it", path, info.Mode(), err)
		}
	}
	// Seven secrets, each made by itself, one name and the two to be filled in.
	if len(seen) != 9 {
		t.Errorf("%d different values, want 9", len(seen))
	}
	acl := read(t, filepath.Join(dir, "users.acl"))
	for value := range seen {
		if len(value) > 10 && strings.Contains(acl, value) {
			t.Error("users.acl holds a password")
		}
	}
	if strings.Contains(acl, "SHA256") {
		t.Error("users.acl holds a placeholder")
	}
}

// The sample is valid for each service with what compose gives it, and
// nothing that it is given is unknown.
func TestSampleConfiguration(t *testing.T) {
	if got, want := read(t, "rescind.yml"), read(t, "../cmd/config/testdata/rescind.yml"); got != want {
		t.Error(cmp.Diff(want, got))
	}
	dir := secrets(t)
	for _, role := range []config.Role{config.RoleListener, config.RoleWorker} {
		var environ []string
		service := compose(t).Services[string(role)]
		for _, path := range service.EnvFile {
			for name, value := range envFile(t, filepath.Join(filepath.Dir(dir), path)) {
				if name == "RC_CLIENT_SECRET" || name == "RC_JWT" { // filled in by the operator
					value = "filled-in-by-the-operator"
				}
				environ = append(environ, name+"="+value)
			}
		}
		for name, value := range service.Environment {
			environ = append(environ, name+"="+value)
		}
		c, err := config.Load("rescind.yml", environ)
		if err != nil {
			t.Fatalf("%s: %v", role, err)
		}
		if err := c.Validate(role); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	}
}

func natsOptions(t *testing.T) (o *server.Options, password string) {
	t.Helper()
	password = envFile(t, filepath.Join(secrets(t), "nats.env"))["NATS_PASSWORD"]
	t.Setenv("NATS_PASSWORD", password)
	o, err := server.ProcessConfigFile("nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	return o, password
}

func TestNATS(t *testing.T) {
	o, password := natsOptions(t)
	if !o.JetStream || !o.SyncAlways || o.StoreDir != "/data" || o.Port != 4222 || o.HTTPPort != 8222 {
		t.Errorf("JetStream %t, sync always %t, store %q, ports %d and %d",
			o.JetStream, o.SyncAlways, o.StoreDir, o.Port, o.HTTPPort)
	}
	o.StoreDir, o.Host, o.Port, o.HTTPPort = t.TempDir(), "127.0.0.1", server.RANDOM_PORT, 0
	o.NoSigs, o.NoLog = true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	wrong := stream.ConnectOptions{URL: s.ClientURL(), User: "rescind", Password: "wrong"}
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("it takes no connections within 10 s")
	}
	if nc, err := stream.Connect(t.Context(), wrong); err == nil {
		nc.Close()
		t.Error("a wrong password is accepted")
	}
	right := wrong
	right.Password = password
	nc, err := stream.Connect(t.Context(), right)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := stream.Open(t.Context(), nc, stream.Options{}); err != nil {
		t.Errorf("the streams do not fit its limits: %v", err)
	}
}

// composeFile is what we use of the format; anything else is refused.
type composeFile struct {
	Name     string
	Common   any `yaml:"x-common"`
	Service  any `yaml:"x-service"`
	Services map[string]composeService
	Networks map[string]struct{ Internal bool }
	Volumes  map[string]struct{}
}

type composeService struct {
	Image, User, Restart string
	Build                struct{ Context, Dockerfile, Target string }
	ReadOnly             bool     `yaml:"read_only"`
	CapDrop              []string `yaml:"cap_drop"`
	CapAdd               []string `yaml:"cap_add"`
	SecurityOpt          []string `yaml:"security_opt"`
	EnvFile              []string `yaml:"env_file"`
	Environment          map[string]string
	Entrypoint, Command  []string
	Volumes, Tmpfs       []string
	Ports, Networks      []string
	NetworkMode          string                       `yaml:"network_mode"`
	DependsOn            map[string]map[string]string `yaml:"depends_on"`
	StopGracePeriod      string                       `yaml:"stop_grace_period"`
	Healthcheck          struct {
		Test              []string
		Interval, Timeout string
		StartPeriod       string `yaml:"start_period"`
		Retries           int
	}
}

func compose(t *testing.T) composeFile {
	t.Helper()
	var c composeFile
	dec := yaml.NewDecoder(bytes.NewReader([]byte(read(t, "compose.yml"))))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCompose(t *testing.T) {
	c := compose(t)
	made := filepath.Dir(secrets(t))
	exists := func(service, path string) {
		t.Helper()
		at := path
		if strings.HasPrefix(path, "secrets/") || strings.HasPrefix(path, "./secrets/") {
			at = filepath.Join(made, path)
		}
		if _, err := os.Stat(at); err != nil {
			t.Errorf("%s: %v", service, err)
		}
	}
	for name, s := range c.Services {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) {
			t.Errorf("%s: may write to its root or keeps capabilities", name)
		}
		for _, path := range s.EnvFile {
			exists(name, path)
		}
		for _, mount := range s.Volumes {
			from, _, _ := strings.Cut(mount, ":")
			if _, named := c.Volumes[from]; !named {
				exists(name, from)
			}
		}
		for other := range s.DependsOn {
			if _, ok := c.Services[other]; !ok {
				t.Errorf("%s: depends on %s, which is not there", name, other)
			}
		}
		if len(s.Healthcheck.Test) == 0 && name != "nats-data" {
			t.Errorf("%s: has no health check", name)
		}
	}
	for _, name := range []string{"nats", "redis"} {
		s := c.Services[name]
		if len(s.Ports) > 0 || !slices.Equal(s.Networks, []string{"inside"}) || s.User != "65532:65532" {
			t.Errorf("%s: ports %v, networks %v, user %q", name, s.Ports, s.Networks, s.User)
		}
	}
	if !c.Networks["inside"].Internal {
		t.Error("the network inside is open to the outside")
	}
}

// What compose builds and asks is what the Dockerfile and the configuration
// hold.
func TestComposeFitsTheImages(t *testing.T) {
	c, stages := compose(t), stages(t)
	cfg, err := config.Load("rescind.yml", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, addrs := range map[string][3]string{
		"listener": {cfg.Listener.Addr, cfg.Listener.AdminAddr, "/livez"},
		"worker":   {cfg.Worker.Addr, cfg.Worker.AdminAddr, "/readyz"},
	} {
		s := c.Services[name]
		stage := stages[s.Build.Target]
		if s.Build.Context != ".." || s.Build.Dockerfile != "deploy/Dockerfile" || s.Build.Target != name {
			t.Errorf("%s: build %+v", name, s.Build)
		}
		if !strings.Contains(stage, `ENTRYPOINT ["/`+name+`"]`) ||
			!strings.Contains(stage, "COPY --from=build /out/"+name+" /"+name+"\n") {
			t.Errorf("%s: the stage is\n%s", name, stage)
		}
		for i, addr := range addrs[:2] {
			_, port, _ := net.SplitHostPort(addr)
			if want := "127.0.0.1:" + port + ":" + port; s.Ports[i] != want {
				t.Errorf("%s: publishes %s, want %s", name, s.Ports[i], want)
			}
			if !regexp.MustCompile(`(?m)^EXPOSE .*\b` + port + `\b`).MatchString(stage) {
				t.Errorf("%s: the image does not expose %s", name, port)
			}
		}
		_, port, _ := net.SplitHostPort(addrs[1])
		want := []string{"CMD", "/probe", "http://127.0.0.1:" + port + addrs[2]}
		if diff := cmp.Diff(want, s.Healthcheck.Test); diff != "" {
			t.Errorf("%s: health check (-want +got):\n%s", name, diff)
		}
		if path := s.Environment[config.PathVariable]; !slices.Contains(s.Volumes, "./rescind.yml:"+path+":ro") {
			t.Errorf("%s: reads %s, but %v are mounted", name, path, s.Volumes)
		}
	}
	if !strings.Contains(strings.Join(c.Services["redis"].Command, " "), "/etc/redis/redis.conf") ||
		!strings.Contains(read(t, "redis.conf"), "\naclfile /etc/redis/users.acl\n") {
		t.Error("redis does not read the files that are mounted")
	}
}

// stages are the Dockerfile's, by name.
func stages(t *testing.T) map[string]string {
	t.Helper()
	text := read(t, "Dockerfile")
	heads := regexp.MustCompile(`(?m)^FROM (\S+) AS (\S+)\n`).FindAllStringSubmatchIndex(text, -1)
	m := map[string]string{}
	for i, h := range heads {
		end := len(text)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		m[text[h[4]:h[5]]] = text[h[0]:end]
	}
	return m
}

func TestDockerfile(t *testing.T) {
	stages := stages(t)
	build := stages["build"]
	goVersion := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(read(t, "../go.mod"))[1]
	minor := strings.TrimSuffix(goVersion, ".0") // go.mod asks for any patch of it
	if !strings.HasPrefix(build, "FROM golang:"+minor+".") {
		t.Errorf("the image of the compiler is not that of go.mod, %s", goVersion)
	}
	if !strings.Contains(build, "CGO_ENABLED=0 go build -trimpath ") {
		t.Error("the binaries are not static, or hold paths of the machine that built them")
	}
	packages := regexp.MustCompile(`\./\S+/\S+`).FindAllString(build, -1)
	if want := []string{"./cmd/listener", "./cmd/worker", "./cmd/rescind", "./deploy/probe"}; !slices.Equal(packages, want) {
		t.Errorf("builds %v, want %v", packages, want)
	}
	for _, p := range packages {
		if _, err := os.Stat(filepath.Join("..", p, "main.go")); err != nil {
			t.Error(err)
		}
	}
	if base := stages["base"]; !strings.HasPrefix(base, "FROM scratch ") ||
		!strings.Contains(base, "\nUSER 65532:65532\n") ||
		!strings.Contains(base, " /etc/ssl/certs/ca-certificates.crt\n") {
		t.Errorf("the base is\n%s", base)
	}
}
