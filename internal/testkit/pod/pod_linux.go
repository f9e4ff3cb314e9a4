package pod

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotAllowed : this user may not make a pod on this machine.
var ErrNotAllowed = errors.New("namespaces are not allowed")

// Options of a pod. The zero value is a pod without a service.
type Options struct {
	// Command is the pod's service and its arguments. If empty, there is none and PID is the first process's.
	Command []string
	// Env is the service's whole environment. If nil, it is empty.
	Env []string
	// Hostname of the pod. If empty, "pod".
	Hostname string
	// Addresses are the pod's own; loopback is there without being named.
	Addresses []netip.Addr
	// Names are what the pod's DNS server knows; a name without a dot gets the first search domain.
	Names map[string]netip.Addr
	// Search is the search list. If nil, that of a pod in the namespace "shop".
	Search []string
	// Resolver is the DNS server's address. If invalid, 10.42.0.53.
	Resolver netip.Addr
	// UserNamespace makes root use a user namespace too, as an ordinary user always does.
	UserNamespace bool
	// Output gets what the service and the pod's first process print, one write at a time. If nil, it is dropped.
	Output io.Writer
}

func (o Options) filled() Options {
	if o.Hostname == "" {
		o.Hostname = "pod"
	}
	if o.Search == nil {
		o.Search = []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local"}
	}
	if !o.Resolver.IsValid() {
		o.Resolver = netip.MustParseAddr("10.42.0.53")
	}
	if o.Output != nil {
		o.Output = &lockedWriter{w: o.Output}
	}
	return o
}

// lockedWriter is written to by several processes' copiers.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// Pod is a running pod. Its goroutine reads what the first process says and ends with it; each Process may have one that
// copies output, which ends with the process's output.
type Pod struct {
	init    *exec.Cmd
	conn    *net.UnixConn
	service *Process
	over    chan struct{}
	close   sync.Once
	err     error

	mu        sync.Mutex
	processes map[int]*Process
	lastID    int
}

// Start makes a pod and starts its service. Where neither root's rights nor a user namespace are to be had the error
// wraps ErrNotAllowed. The caller closes the pod; it ends with this process in any case.
func Start(opts Options) (*Pod, error) {
	opts = opts.filled()
	p := &Pod{over: make(chan struct{}), processes: map[int]*Process{}}
	rootless := os.Geteuid() != 0 || opts.UserNamespace
	err := p.startInit(opts, rootless)
	if !rootless && errors.Is(err, unix.EPERM) { // root of a container, without CAP_SYS_ADMIN
		rootless, err = true, p.startInit(opts, true)
	}
	if err != nil {
		if rootless {
			err = notAllowed(err)
		}
		return nil, fmt.Errorf("start pod: %w", err)
	}
	go p.listen()
	if len(opts.Command) == 0 {
		return p, nil
	}
	if p.service, err = p.Exec(Command{Args: opts.Command, Env: opts.Env, Stdout: opts.Output, Stderr: opts.Output}); err != nil {
		return nil, errors.Join(fmt.Errorf("start pod: %w", err), p.Close())
	}
	return p, nil
}

// PID is the service's process id on this machine: what a target is named by.
func (p *Pod) PID() int {
	if p.service == nil {
		return p.init.Process.Pid
	}
	return p.service.PID
}

// Service is the process of Options.Command, nil without one.
func (p *Pod) Service() *Process { return p.service }

// Close ends every process in the pod and waits for them.
func (p *Pod) Close() error {
	p.close.Do(func() {
		_ = p.conn.Close()
		// Without its first process the kernel ends all others of the pod (pid_namespaces(7)).
		timer := time.AfterFunc(5*time.Second, func() { _ = p.init.Process.Kill() })
		err := p.init.Wait()
		timer.Stop()
		<-p.over
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			p.err = err
		}
	})
	return p.err
}

// startInit starts the pod's first process and waits until the pod is ready.
func (p *Pod) startInit(opts Options, rootless bool) error {
	etc, err := os.MkdirTemp("", "podstep-pod-")
	if err != nil {
		return err
	}
	defer os.Remove(etc) // a pod that is ready has removed it
	ours, theirs, err := packetPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	p.conn = ours
	p.init = &exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        []string{initName},
		Env:         []string{"PATH=" + os.Getenv("PATH")},
		Stdout:      opts.Output,
		Stderr:      opts.Output,
		ExtraFiles:  []*os.File{theirs},
		SysProcAttr: attributes(rootless),
	}
	if err := p.init.Start(); err != nil {
		_ = ours.Close()
		return err
	}
	err = send(ours, message{Setup: &setup{
		Hostname: opts.Hostname, Addresses: opts.Addresses, Names: opts.Names,
		Search: opts.Search, Resolver: opts.Resolver, Etc: etc,
	}})
	var answer message
	if err == nil {
		answer, _, err = receive(ours)
	}
	if err == nil && answer.Refused != nil {
		err = answer.Refused
	}
	if err != nil {
		_ = ours.Close()
		_ = p.init.Process.Kill()
		_ = p.init.Wait()
	}
	return err
}

// notAllowed tells the kernel's refusal of a user namespace, or of what one is for, from other errors.
func notAllowed(err error) error {
	for _, errno := range []syscall.Errno{unix.EPERM, unix.EACCES, unix.ENOSPC, unix.EUSERS, unix.EINVAL} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w to uid %d: %w", ErrNotAllowed, os.Geteuid(), err)
		}
	}
	return err
}

// attributes of the first process. With a user namespace it is root inside and the caller outside.
func attributes(rootless bool) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS,
		Setsid:     true,
	}
	if rootless {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return attr
}
