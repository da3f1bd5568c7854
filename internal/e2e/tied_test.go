//go:build !linux

package e2e

import "syscall"

func tied() *syscall.SysProcAttr { return nil }
