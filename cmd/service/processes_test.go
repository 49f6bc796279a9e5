package service_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rescindhq/rescind/cache/lookup"
	"github.com/rescindhq/rescind/subscriptions/sim"
)

// The two services as processes of their own, under load, and how much memory
// they took at most:
//
//	MEASURE_PROCESSES=1 go test ./cmd/service -run Processes -v
func TestProcesses(t *testing.T) {
	if os.Getenv("MEASURE_PROCESSES") == "" {
		t.Skip("set MEASURE_PROCESSES to measure")
	}
	w := startWorld(t, options{quiet: true, idle: true})
	subjects := names(0, 2_000)
	w.addExtensions(subjects)
	w.fault(sim.Fault{Kind: sim.Delay, Delay: 5 * time.Millisecond})
	file, dir := w.configFile(), t.TempDir()
	worker, listener := w.spawn(dir, "worker", file), w.spawn(dir, "listener", file)
	asks := worker.serves(t, "asks")
	w.await("subscribed", func() bool { return len(w.sim.Subscriptions()) == 1 })
	address := w.sim.Subscriptions()[0].Address

	start := time.Now()
	w.each(subjects, 64, func(subject string) error { return w.askAt(asks, subject) })
	t.Logf("%d entries filled in %s", len(subjects), time.Since(start).Round(time.Millisecond))
	start = time.Now()
	const rounds = 10
	for round := range rounds {
		w.each(subjects, 64, func(subject string) error {
			body := notice(fmt.Sprint("load-", round, "-", subject), "s-1", subject)
			if got, err := w.send(address, verificationToken, body); got != 200 || err != nil {
				return fmt.Errorf("status %d, %w", got, err)
			}
			return nil
		})
	}
	took := time.Since(start)
	t.Logf("%d deliveries in %s: %.0f/s", rounds*len(subjects), took.Round(time.Millisecond),
		float64(rounds*len(subjects))/took.Seconds())
	w.applied()
	for _, p := range []*process{listener, worker} {
		t.Logf("%s: %s at most", p.name, p.peak(t))
		p.stop(t)
	}
}

// process is a service as a program.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *journal
	done chan error
}

func (w *world) spawn(dir, name, file string) *process {
	w.t.Helper()
	path := filepath.Join(dir, name)
	build := exec.Command("go", "build", "-o", path, "github.com/rescindhq/rescind/cmd/"+name)
	if out, err := build.CombinedOutput(); err != nil {
		w.t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	p := &process{name: name, log: &journal{}, done: make(chan error, 1)}
	p.cmd = exec.Command(path, "-config", file)
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	w.t.Cleanup(func() { p.stop(w.t) })
	return p
}

// serves is an address from the line that says where it serves.
func (p *process) serves(t *testing.T, attr string) (addr string) {
	t.Helper()
	found := regexp.MustCompile(`"` + attr + `":"([^"]+)"`)
	await(t, p.name+" serves", func() bool {
		m := found.FindStringSubmatch(p.log.String())
		if m != nil {
			addr = m[1]
		}
		return m != nil
	})
	return addr
}

// peak is the most memory that was resident.
func (p *process) peak(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// stop ends it as an operator would. It may be called again.
func (p *process) stop(t testing.TB) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case err := <-p.done:
		if err != nil {
			t.Errorf("%s: %v: %s", p.name, err, p.log)
		}
	case <-time.After(limit):
		t.Errorf("%s has not ended", p.name)
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	p.done <- nil
}

// askAt asks a worker by its address.
func (w *world) askAt(addr, subject string) error {
	c, err := lookup.NewHTTP(lookup.HTTPOptions{
		URL: "http://" + addr, Token: askToken, Client: w.client, Timeout: limit,
	})
	if err != nil {
		return err
	}
	d, err := c.Ask(w.t.Context(), ref(subject), abroad)
	if err == nil && !d.Allowed() {
		err = fmt.Errorf("%s: %s (%q)", subject, d.State, d.Message)
	}
	return err
}
