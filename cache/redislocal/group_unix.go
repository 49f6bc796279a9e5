//go:build unix

package redislocal

import "syscall"

// ownGroup keeps a Ctrl-C meant for us from reaching the server: we stop it.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
