//go:build !linux

package faults

import "syscall"

// bound knows no way here to tie a child's life to ours.
func bound() *syscall.SysProcAttr { return nil }
