package faults

import "syscall"

// bound keeps a Ctrl-C meant for us from a child, and kills it if we die.
func bound() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
