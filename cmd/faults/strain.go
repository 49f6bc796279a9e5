package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// stage is a system in which faults happen. What a fault needs of it, and what
// would make the other faults less real, has a stage of its own.
type stage string

const (
	plainStage stage = "plain"
	diskStage  stage = "disk"  // JetStream on small file systems
	clockStage stage = "clock" // Redis by a clock that can be moved
)

// diskSize is that of each server's file system on [diskStage], in bytes.
const diskSize = 32 << 20

// storeDir makes the folder for a server's JetStream.
func (w *world) storeDir(name string) (string, error) {
	dir := filepath.Join(w.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil || w.on != diskStage {
		return dir, err
	}
	if err := mount(dir, diskSize); err != nil {
		return "", fmt.Errorf("mount a file system of %d bytes on %s: %w", diskSize, dir, err)
	}
	w.onClose(func() error { return unmount(dir) })
	return dir, nil
}

func (w *world) ballast(p *part) string { return filepath.Join(w.dir, p.name, "ballast") }

// fillDisk leaves no room on a server's file system.
func (w *world) fillDisk(p *part) (err error) {
	f, err := os.Create(w.ballast(p))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	chunk := make([]byte, 4<<10)
	for range 2 * diskSize / len(chunk) {
		if _, err := f.Write(chunk); err != nil {
			return nil // it is full
		}
	}
	return errors.New("the prover is wrong: the file system does not fill up")
}

// freeDisk makes room again. A server that has run out of it gives JetStream
// up until it is started again, which is up to its operator.
func (w *world) freeDisk(context.Context) error {
	for _, p := range w.nats {
		err := os.Remove(w.ballast(p))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := p.stop(); err != nil {
			return err
		}
	}
	return nil
}

// libfaketime is the path of the library that moves a process's clock; empty
// if it is not installed.
func libfaketime() string {
	for _, pattern := range []string{
		"/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1",
		"/usr/lib64/faketime/libfaketime.so.1",
	} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0]
		}
	}
	return ""
}

// clockEnv lets a process live by the clock that setClock sets. The C library
// comes before redis-server's own allocator, which asks for the time before
// libfaketime can tell it, and hangs.
func (w *world) clockEnv() []string {
	if w.on != clockStage {
		return nil
	}
	return []string{
		"LD_PRELOAD=" + libfaketime() + ":libc.so.6", "FAKETIME_TIMESTAMP_FILE=" + filepath.Join(w.dir, "clock"),
		"FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1",
	}
}

// setClock moves the clock of every Redis.
func (w *world) setClock(by time.Duration) error {
	if w.on != clockStage {
		return nil
	}
	next, err := w.write("clock.next", fmt.Sprintf("%+d\n", int(by.Seconds())))
	if err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(w.dir, "clock")) // at once: it is read all the time
}
