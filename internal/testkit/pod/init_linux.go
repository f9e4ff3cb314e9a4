package pod

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// initName is argv[0] of a pod's first process.
const initName = "podstep-pod-init"

// Main returns at once unless the program was started as a pod's first process: then it is that until the pod ends, and
// never returns. Call it first in main and in TestMain.
func Main() {
	if len(os.Args) == 0 || os.Args[0] != initName {
		return
	}
	conn, err := packetConn(os.NewFile(3, "pod"))
	if err == nil {
		err = runInit(conn)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, initName+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// first is the pod's first process. One goroutine reaps, all that the pod's orphans leave too.
type first struct {
	conn *net.UnixConn

	mu  sync.Mutex
	ids map[int]int // by pid
}

// runInit sets the pod up and starts what it is asked to, until the maker goes.
func runInit(conn *net.UnixConn) error {
	m, _, err := receive(conn)
	if err != nil || m.Setup == nil {
		return fmt.Errorf("read setup: %w", err)
	}
	if err := m.Setup.apply(); err != nil {
		return errors.Join(err, send(conn, message{Refused: refuse(err)}))
	}
	f := &first{conn: conn, ids: map[int]int{}}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	go func() {
		for range children {
			f.reap()
		}
	}()
	if err := send(conn, message{}); err != nil {
		return err
	}
	for {
		m, files, err := receive(conn)
		if err != nil {
			return nil // the maker went, and with this process the pod goes
		}
		if m.Start != nil && len(files) == 3 {
			if err := f.start(*m.Start, files); err != nil {
				err = send(conn, message{ID: m.Start.ID, Refused: refuse(err)})
				if err != nil {
					return err
				}
			}
		}
		closeAll(files)
	}
}

func (s *setup) apply() error {
	if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
		return fmt.Errorf("set the hostname: %w", err)
	}
	if err := setUpLoopback(append(s.Addresses, s.Resolver)); err != nil {
		return err
	}
	if err := mountEtc(s.Etc, s.etcFiles()); err != nil {
		return err
	}
	return serveNames(s.Resolver, s.zone())
}

// start runs a program and tells its pidfd. The mutex keeps its end from being reaped before it is known.
func (f *first) start(s start, files []*os.File) error {
	path, err := exec.LookPath(s.Args[0])
	if err != nil {
		return err
	}
	fds := make([]uintptr, len(files))
	for i, file := range files {
		fds[i] = file.Fd()
	}
	pidfd := -1
	f.mu.Lock()
	defer f.mu.Unlock()
	pid, err := syscall.ForkExec(path, s.Args, &syscall.ProcAttr{
		Dir: s.Dir, Env: s.Env, Files: fds, Sys: &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd},
	})
	if err != nil {
		return &os.PathError{Op: "exec", Path: path, Err: err}
	}
	f.ids[pid] = s.ID
	handle := os.NewFile(uintptr(pidfd), "pidfd")
	defer handle.Close()
	return send(f.conn, message{ID: s.ID}, handle)
}

func (f *first) reap() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if id, ok := f.ids[pid]; ok {
			delete(f.ids, pid)
			_ = send(f.conn, message{ID: id, Exited: &status})
		}
	}
}

func refuse(err error) *refused {
	r := &refused{Text: err.Error()}
	errors.As(err, &r.Errno)
	return r
}
