//go:build !unix

package redislocal

import "syscall"

func ownGroup() *syscall.SysProcAttr { return nil }
