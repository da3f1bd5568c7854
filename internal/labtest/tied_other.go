//go:build !linux

package labtest

import "syscall"

func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
