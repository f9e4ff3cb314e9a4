//go:build linux

package intercept_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"

	"podstep.dev/internal/splice"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
	"podstep.dev/launcher/intercept"
	"podstep.dev/launcher/rules"
)

const (
	hostname = "web-0"
	podIP    = "10.244.1.7"
	patience = 60 * time.Second // for whatever a test waits for; the machine may be busy
)

// pod is a Link whose addresses are mapped onto servers of the test.
type pod struct {
	mu     sync.Mutex
	routes map[string]route // by "ip:port"
	names  map[string][]string
	dialed map[string]int
	asked  map[string]int
	server *dns.Server
	at     string // of the resolver
}

// route is what becomes of a dial: a target, or an errno, after a delay.
type route struct {
	target string
	errno  syscall.Errno
	delay  time.Duration
}

func newPod(t testing.TB) *pod {
	p := &pod{routes: map[string]route{}, names: map[string][]string{}, dialed: map[string]int{}, asked: map[string]int{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.at = l.Addr().String()
	p.server = &dns.Server{Listener: l, Handler: dns.HandlerFunc(p.answer)}
	done := make(chan error, 1)
	go func() { done <- p.server.ActivateAndServe() }()
	t.Cleanup(func() {
		_ = p.server.Shutdown()
		<-done
	})
	return p
}

func (p *pod) route(addr string, r route) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.routes[addr] = r
}

func (p *pod) Dial(ctx context.Context, to netip.AddrPort) (splice.Conn, netip.AddrPort, error) {
	p.mu.Lock()
	r, ok := p.routes[to.String()]
	p.dialed[to.String()]++
	p.mu.Unlock()
	if !ok {
		r.errno = unix.EHOSTUNREACH
	}
	if r.delay > 0 {
		wait := time.NewTimer(r.delay)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			return nil, netip.AddrPort{}, context.Cause(ctx)
		}
	}
	if r.errno != 0 {
		return nil, netip.AddrPort{}, &wire.Refusal{Errno: r.errno}
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", r.target)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	return conn.(*net.TCPConn), netip.MustParseAddrPort(podIP + ":40001"), nil
}

func (p *pod) DNS(ctx context.Context) (splice.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", p.at)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

func (p *pod) answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	name := strings.TrimSuffix(strings.ToLower(q.Question[0].Name), ".")
	p.mu.Lock()
	addrs, ok := p.names[name]
	p.asked[name]++
	p.mu.Unlock()
	if !ok {
		m.Rcode = dns.RcodeNameError
	}
	for _, a := range addrs {
		ip := net.ParseIP(a)
		head := dns.RR_Header{Name: q.Question[0].Name, Class: dns.ClassINET, Ttl: 5}
		switch {
		case q.Question[0].Qtype == dns.TypeA && ip.To4() != nil:
			head.Rrtype = dns.TypeA
			m.Answer = append(m.Answer, &dns.A{Hdr: head, A: ip})
		case q.Question[0].Qtype == dns.TypeAAAA && ip.To4() == nil:
			head.Rrtype = dns.TypeAAAA
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: head, AAAA: ip})
		}
	}
	_ = w.WriteMsg(m)
}

// lab is a supervisor with a pod behind it.
type lab struct {
	*intercept.Supervisor
	t    testing.TB
	pod  *pod
	told chan uint16 // ports that Listening was told of
}

func newLab(t testing.TB) *lab { return newLabWith(t, func(*intercept.Options) {}) }

func newLabWith(t testing.TB, change func(*intercept.Options)) *lab {
	t.Helper()
	loopbackUp(t)
	l := &lab{t: t, pod: newPod(t), told: make(chan uint16, 64)}
	log := zap.NewNop()
	if os.Getenv("INTERCEPT_TEST_LOG") != "" {
		log = zaptest.NewLogger(t)
	}
	r, err := rules.Parse(rules.Config{TCP: true, DNS: true})
	if err != nil {
		t.Fatal(err)
	}
	opts := intercept.Options{
		Log: log, Rules: r, Hostname: hostname, Link: l.pod,
		Addresses: []netip.Addr{netip.MustParseAddr(podIP), netip.MustParseAddr("fd00:244::7")},
		Listening: func(_ context.Context, port uint16) { l.told <- port },
	}
	change(&opts)
	if l.Supervisor, err = intercept.New(opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// loopbackUp makes the namespace's loopback usable, and proves that there is no way out of it.
func loopbackUp(t testing.TB) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		t.Fatal(err)
	}
	if ifr.Uint16()&unix.IFF_UP == 0 {
		ifr.SetUint16(ifr.Uint16() | unix.IFF_UP | unix.IFF_RUNNING)
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 1}, Port: 9}); !errors.Is(err, unix.ENETUNREACH) {
		t.Fatalf("there is a way out of the test's namespace: %v", err)
	}
}

// debuggee is a program behind the filter.
type debuggee struct {
	*exec.Cmd
	t      testing.TB
	served chan error
	out    *testkit.Output
	in     io.WriteCloser
}

// start runs argv behind the filter. Its end is waited for by the test's own.
func (l *lab) start(t testing.TB, scope intercept.Scope, argv ...string) *debuggee {
	t.Helper()
	return l.startTo(t, nil, scope, argv...)
}

// startTo is start with a file for the program's standard output; if nil, it is collected.
func (l *lab) startTo(t testing.TB, stdout *os.File, scope intercept.Scope, argv ...string) *debuggee {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "shim")
	d := &debuggee{Cmd: exec.Command("/proc/self/exe", argv...), t: t, served: make(chan error, 1), out: &testkit.Output{}}
	d.Env = append(os.Environ(), envShim+"=all", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/nonexistent", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1")
	if scope == intercept.Traced {
		d.Env = append(d.Env, envShim+"=traced")
	}
	d.ExtraFiles = []*os.File{theirs}
	d.Stdout, d.Stderr = d.out, d.out
	if stdout != nil {
		d.Stdout = stdout
	}
	d.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	d.WaitDelay = 10 * time.Second
	if d.in, err = d.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	listener, err := receiveListener(pair[0])
	if err != nil {
		_ = d.Wait()
		t.Fatalf("shim: %v\n%s", err, d.out)
	}
	go func() { d.served <- l.Serve(context.Background(), listener, scope) }()
	if _, err := unix.Write(pair[0], []byte{1}); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(pair[0])
	t.Cleanup(func() {
		_ = syscall.Kill(-d.Process.Pid, syscall.SIGKILL)
		_ = d.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", argv[0], d.out)
		}
	})
	return d
}

func receiveListener(fd int) (*os.File, error) {
	oob := make([]byte, 64)
	_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) == 0 {
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fds[0]), "seccomp"), nil
}

// run runs argv behind the filter to its end and returns what it printed. It must succeed.
func (l *lab) run(t testing.TB, argv ...string) string {
	t.Helper()
	d := l.start(t, intercept.All, argv...)
	_ = d.in.Close()
	err := d.wait()
	if err != nil {
		t.Fatalf("%s: %v\n%s", argv[0], err, d.out)
	}
	return strings.TrimSpace(d.out.String())
}

// wait waits for the program's end and that of its supervision.
func (d *debuggee) wait() error {
	d.t.Helper()
	limit := time.AfterFunc(patience, func() { _ = syscall.Kill(-d.Process.Pid, syscall.SIGKILL) })
	defer limit.Stop()
	err := d.Cmd.Wait()
	select {
	case serr := <-d.served:
		d.served <- serr
		if serr != nil {
			d.t.Errorf("Serve: %v", serr)
		}
	case <-time.After(patience):
		d.t.Error("Serve goes on although its tasks are gone")
	}
	return err
}

// python runs a script behind the filter and returns what it printed.
func (l *lab) python(t testing.TB, script string, args ...string) string {
	t.Helper()
	return l.run(t, append([]string{"/usr/bin/python3", "-c", script}, args...)...)
}

// listening waits until the debuggee listens, and returns the port that it asked for.
func (l *lab) listening(t testing.TB) uint16 {
	t.Helper()
	select {
	case port := <-l.told:
		return port
	case <-time.After(patience):
		t.Fatal("nothing listens")
	}
	return 0
}

// eventually polls until ok, or fails.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-limit.C:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// echo serves TCP: it sends back what it gets, line by line behind its name. It returns its address.
func echo(t testing.TB, name string) string {
	t.Helper()
	return listen(t, func(c net.Conn) {
		_, _ = io.WriteString(c, name+":")
		_, _ = io.Copy(c, c)
	})
}

// listen serves TCP by handle, which need not close, and returns its address.
func listen(t testing.TB, handle func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer func() { _ = c.Close() }()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		conns.Wait()
	})
	return l.Addr().String()
}
