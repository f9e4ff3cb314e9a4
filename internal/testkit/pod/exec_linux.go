package pod

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Command is a program to run in the pod.
type Command struct {
	// Args are the program, looked for on the caller's PATH, and its arguments.
	Args []string
	// Env is the whole environment. If nil, it is empty.
	Env []string
	// Dir is where it runs. If empty, "/".
	Dir string
	// Stdout and Stderr get what it prints. If nil, it is dropped. A *os.File is handed over as it is.
	Stdout, Stderr io.Writer
}

// Process is a program that runs in the pod.
type Process struct {
	// PID is its id on this machine.
	PID int

	pidfd  *os.File
	copies sync.WaitGroup
	began  chan message
	done   chan struct{}
	status syscall.WaitStatus
}

// Exec starts a program in the pod. Nobody needs to wait for it.
func (p *Pod) Exec(c Command) (*Process, error) {
	proc := &Process{began: make(chan message, 1), done: make(chan struct{})}
	files, err := proc.files(c)
	if err != nil {
		return nil, fmt.Errorf("run %s in the pod: %w", c.Args[0], err)
	}
	defer closeAll(files)
	if c.Dir == "" {
		c.Dir = "/"
	}
	p.mu.Lock()
	p.lastID++
	id := p.lastID
	p.processes[id] = proc
	err = send(p.conn, message{Start: &start{ID: id, Args: c.Args, Env: c.Env, Dir: c.Dir}}, files...)
	p.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("run %s in the pod: %w", c.Args[0], err)
	}
	select {
	case answer := <-proc.began:
		if answer.Refused != nil {
			return nil, fmt.Errorf("run %s in the pod: %w", c.Args[0], answer.Refused)
		}
	case <-p.over:
		return nil, fmt.Errorf("run %s in the pod: %w", c.Args[0], io.ErrUnexpectedEOF)
	}
	return proc, nil
}

// Wait waits for the program's end and for all that it printed, and says how it ended. A pod that was closed killed it.
func (p *Process) Wait() syscall.WaitStatus {
	<-p.done
	p.copies.Wait()
	return p.status
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends sig to the program; one that has ended is no error.
func (p *Process) Signal(sig syscall.Signal) error {
	err := unix.PidfdSendSignal(int(p.pidfd.Fd()), sig, nil, 0)
	if err == unix.ESRCH {
		return nil
	}
	return err
}

// files makes standard input, output and error; what it returns is to be closed when the program has them.
func (p *Process) files(c Command) ([]*os.File, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	files := []*os.File{null}
	for i, w := range []io.Writer{c.Stdout, c.Stderr} {
		f, err := files[i], error(nil)
		if i == 0 || !same(c.Stdout, w) {
			if f, err = p.sink(w); err != nil {
				closeAll(files)
				return nil, err
			}
		}
		files = append(files, f)
	}
	return files, nil
}

// same says that one writer takes both outputs: then one goroutine writes to it. Writers may be of types that Go cannot
// compare.
func same(a, b io.Writer) (equal bool) {
	defer func() { _ = recover() }()
	return a == b
}

func (p *Process) sink(w io.Writer) (*os.File, error) {
	switch w := w.(type) {
	case nil:
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	case *os.File:
		fd, err := unix.FcntlInt(w.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		return os.NewFile(uintptr(fd), w.Name()), err
	}
	r, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.copies.Go(func() {
		defer r.Close()
		_, _ = io.Copy(w, r)
	})
	return out, nil
}

// listen hears what the first process says until the pod is over.
func (p *Pod) listen() {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		close(p.over)
		for id := range p.processes {
			p.ended(id, syscall.WaitStatus(syscall.SIGKILL))
		}
	}()
	for {
		m, files, err := receive(p.conn)
		if err != nil {
			return
		}
		p.mu.Lock()
		proc := p.processes[m.ID]
		switch {
		case proc == nil:
			closeAll(files)
		case m.Exited != nil:
			p.ended(m.ID, *m.Exited)
		case m.Refused != nil:
			delete(p.processes, m.ID)
			proc.began <- m
		case len(files) == 1:
			proc.pidfd = files[0]
			proc.PID = pidOf(files[0])
			proc.began <- m
		}
		p.mu.Unlock()
	}
}

// ended is called with the mutex held.
func (p *Pod) ended(id int, status syscall.WaitStatus) {
	proc := p.processes[id]
	delete(p.processes, id)
	proc.status = status
	close(proc.done)
}

// pidOf is the number by which this process's /proc knows the process of a pidfd.
func pidOf(pidfd *os.File) int {
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(int(pidfd.Fd())))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(info)) {
		if value, ok := strings.CutPrefix(line, "Pid:"); ok {
			pid, _ := strconv.Atoi(strings.TrimSpace(value))
			return pid
		}
	}
	return 0
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
