package e2e

import "syscall"

// tied makes a process end with the tests, also when these are killed.
func tied() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
