package labtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/freeport"
)

// Process is a program that was started.
type Process struct {
	Name string

	bin  string
	args []string
	env  []string
	log  string

	mu     sync.Mutex // guards what follows
	cmd    *exec.Cmd
	exited chan struct{}
}

// Program finds a program; part of test.sh installs it.
func Program(tb testing.TB, name, part string) string {
	tb.Helper()
	for _, try := range []string{name, filepath.Join("/usr/sbin", name)} {
		if path, err := exec.LookPath(try); err == nil {
			return path
		}
	}
	tb.Fatalf("%s is needed: ./test.sh %s installs it", name, part)
	return ""
}

// Start runs a program until the test ends. env is added to that of the test.
func Start(tb testing.TB, name, bin string, args, env []string) *Process {
	tb.Helper()
	p := &Process{Name: name, bin: bin, args: args, env: env, log: filepath.Join(tb.TempDir(), name+".log")}
	tb.Cleanup(func() {
		p.Kill()
		if tb.Failed() {
			tb.Logf("%s:\n%s", name, p.Output(40))
		}
	})
	p.Again(tb)
	return p
}

// Again starts a process that has ended.
func (p *Process) Again(tb testing.TB) {
	tb.Helper()
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(p.bin, p.args...) //nolint:noctx // it ends with Kill or Stop, and must not end with a test's context
	cmd.Env = append(cmd.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = tied()
	started, exited := make(chan error), make(chan struct{})
	go func() {
		// What ends a process with this one is about the thread that started it, which must therefore stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		_ = out.Close()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(exited)
		}
	}()
	if err := <-started; err != nil {
		tb.Fatalf("start %s: %v", p.Name, err)
	}
	p.mu.Lock()
	p.cmd, p.exited = cmd, exited
	p.mu.Unlock()
}

func (p *Process) running() (*exec.Cmd, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd, p.exited
}

// Signal sends one.
func (p *Process) Signal(s syscall.Signal) {
	if cmd, _ := p.running(); cmd != nil {
		_ = cmd.Process.Signal(s)
	}
}

// Kill ends it as a crash does, with what it started, and waits.
func (p *Process) Kill() {
	cmd, exited := p.running()
	if cmd == nil {
		return
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	_ = cmd.Process.Kill()
	<-exited
}

// Stop asks it to end, and waits.
func (p *Process) Stop(tb testing.TB, within time.Duration) {
	tb.Helper()
	p.Signal(syscall.SIGTERM)
	_, exited := p.running()
	select {
	case <-exited:
	case <-time.After(within):
		tb.Errorf("%s did not end within %s", p.Name, within)
	}
}

// Ended tells whether it has ended.
func (p *Process) Ended() bool {
	_, exited := p.running()
	select {
	case <-exited:
		return true
	default:
		return false
	}
}

// Output is the end of what it said.
func (p *Process) Output(lines int) string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Ports gives addresses of loopback for servers that are told theirs.
func Ports(tb testing.TB, n int) []string {
	tb.Helper()
	addrs := make([]string, 0, n)
	for range n {
		addr, err := freeport.Addr()
		if err != nil {
			tb.Fatal(err)
		}
		addrs = append(addrs, addr)
	}
	return addrs
}

// Await asks until f gives nil.
func Await(tb testing.TB, within time.Duration, what string, f func() error) {
	tb.Helper()
	deadline := time.Now().Add(within)
	for {
		begun := time.Now()
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%s: not within %s: %v", what, within, err)
		}
		<-time.After(max(50*time.Millisecond, time.Since(begun)))
	}
}

// Write makes a file in a directory of the test.
func Write(tb testing.TB, name, text string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil { // servers that drop their rights read it
		tb.Fatal(err)
	}
	return path
}

// Text reads a file.
func Text(tb testing.TB, path string) string {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func (p *Process) String() string { return fmt.Sprintf("%s (%s)", p.Name, p.bin) }
