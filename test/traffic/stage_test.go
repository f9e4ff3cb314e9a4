//go:build linux

package traffic

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"podstep.dev/adapter/borrow/tunnel"
	"podstep.dev/agent/incoming"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// Times of a cell. What must not come is waited for, so they are short; what must come may take long.
const (
	hangTimeout = 400 * time.Millisecond
	holdFor     = 300 * time.Millisecond
	// longer than both
	stoppedFor = 900 * time.Millisecond
)

// policies are a session's settings.
type policies struct {
	onPause        wire.OnPause
	onExit, onHang bool // fall back
	idempotent     bool
}

// stage is a target, a debuggee, and a session that steals two ports with the given policies: one of HTTP and one of plain bytes.
type stage struct {
	policies
	target, debuggee *party
	tunnel           *tunnel.Tunnel
	subscriptions    *incoming.Subscriptions
	http, plain      string // addresses of the target
	// listens says what becomes of a dial to the debuggee.
	listens atomic.Int32
}

// What becomes of a dial.
const (
	accepts = iota
	refuses
	acceptsNothing
)

func newStage(t *testing.T, p policies) *stage {
	s := &stage{policies: p, target: newParty(t, "target"), debuggee: newParty(t, "debuggee")}
	s.http, s.plain = s.target.http, s.target.plain
	closed := bound(t)
	s.debuggee.stops = s.pause
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // the kernel's backlog takes what is sent
	check(t, err)
	t.Cleanup(func() { _ = deaf.Close() })
	s.tunnel = &tunnel.Tunnel{
		Pause:       tunnel.Pause{Policy: p.onPause, Requests: 10, Patience: holdFor},
		Fallback:    tunnel.Fallback{OnExit: p.onExit, OnHang: p.onHang, Idempotent: p.idempotent},
		HangTimeout: hangTimeout,
		Deliver: func(ctx context.Context, port uint16, _, _ netip.AddrPort) (splice.Conn, error) {
			addr := s.debuggee.http
			if port == portOf(s.plain) {
				addr = s.debuggee.plain
			}
			switch s.listens.Load() {
			case refuses:
				addr = closed
			case acceptsNothing:
				addr = deaf.Addr().String()
			}
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			if err != nil {
				return nil, err
			}
			return conn.(*net.TCPConn), nil
		},
	}
	s.link(t)
	repeat := wire.RepeatNever
	if p.onExit {
		repeat = wire.RepeatSafe
		if p.idempotent {
			repeat = wire.RepeatIdempotent
		}
	}
	for _, addr := range []string{s.http, s.plain} {
		_, err := s.subscriptions.Subscribe(t.Context(), wire.SubscribeParams{
			Port: portOf(addr), Mode: wire.ModeSteal, Loopback: true, Requests: true, OnPause: p.onPause, Hold: 1, Repeat: repeat,
		})
		check(t, err)
	}
	return s
}

// link joins the agent's half with the adapter's.
func (s *stage) link(t *testing.T) {
	near, far := testkit.Pair(t)
	ends := make(chan *mux.Session, 1)
	go func() {
		adapter, err := mux.Start(t.Context(), far, mux.AdapterSide, mux.Options{})
		if err != nil {
			t.Error(err)
		}
		ends <- adapter
	}()
	agent, err := mux.Start(t.Context(), near, mux.AgentSide, mux.Options{})
	check(t, err)
	adapter := <-ends
	clients := &tunnel.Clients{}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var serving sync.WaitGroup
	serving.Go(func() { _ = adapter.Serve(func(st *mux.Stream) { s.tunnel.Serve(ctx, clients, st) }) })
	s.subscriptions = incoming.New(t.Context(), func(ctx context.Context, h wire.Header, first []byte) (incoming.Stream, error) {
		return agent.Begin(ctx, h, first)
	}, incoming.Options{Closed: func(n uint64) { clients.Closed(ctx, n) }})
	t.Cleanup(func() {
		now, over := context.WithCancel(context.WithoutCancel(t.Context()))
		over()
		if err := s.subscriptions.Close(now); err != nil {
			t.Errorf("close: %v", err)
		}
		_ = agent.Close()
		cancel()
		serving.Wait()
		_ = adapter.Close()
		clients.Close()
	})
}

// pause stops or continues the debugger, as both halves hear it.
func (s *stage) pause(stopped bool) {
	s.tunnel.SetPaused(stopped)
	if stopped {
		s.subscriptions.SetPaused(time.Now())
	} else {
		s.subscriptions.SetPaused(time.Time{})
	}
}

func portOf(addr string) uint16 { return netip.MustParseAddrPort(addr).Port() }

// party is a target or a debuggee: a server of net/http for HTTP/1, HTTP/2 and WebSocket's handshake, and one of plain lines. It says who it is,
// and counts the requests by their ids.
type party struct {
	name        string
	http, plain string

	mu   sync.Mutex
	had  map[string]int
	does event
	// stops is told when a debugger stops the party, and when it continues.
	stops func(bool)
}

// bound is an address that nobody listens at, nor anybody else can take.
func bound(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	check(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	name, err := unix.Getsockname(fd)
	check(t, err)
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*unix.SockaddrInet4).Port)).String()
}

func newParty(t *testing.T, name string) *party {
	p := &party{name: name, had: map[string]int{}}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler: http.HandlerFunc(p.serve), Protocols: &protocols,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	l := listen(t)
	p.http = l.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	plain := listen(t)
	p.plain = plain.Addr().String()
	serving.Go(func() {
		for {
			c, err := plain.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { defer func() { _ = c.Close() }(); p.lines(c) })
		}
	})
	t.Cleanup(func() { _ = server.Close(); _ = plain.Close(); serving.Wait() })
	return p
}

// connKey is of a request's connection in its context.
type connKey struct{}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	return l
}

// begin counts a request and says what is to be done.
func (p *party) begin(id string) event {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.had[id]++
	return p.does
}

// stop is a debugger's, with a request inside.
func (p *party) stop() {
	p.stops(true)
	<-time.After(stoppedFor)
	p.stops(false)
}

func (p *party) times(id string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.had[id]
}

// do says what the party does with requests from here on.
func (p *party) do(e event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.does = e
}

func (p *party) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/ws" {
		p.webSocket(w, r)
		return
	}
	todo := p.begin(r.Header.Get("X-Id"))
	_, _ = io.Copy(io.Discard, r.Body)
	conn := r.Context().Value(connKey{}).(net.Conn)
	switch todo {
	case ends:
		_ = conn.Close()
		panic(http.ErrAbortHandler)
	case hangs:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case isStopped:
		p.stop()
	}
	if r.Header.Get("Upgrade") != "" {
		p.upgrade(w, todo)
		return
	}
	grpc := r.Header.Get("Content-Type") == "application/grpc"
	if grpc {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
	}
	w.Header().Set("X-Party", p.name)
	_, _ = io.WriteString(w, "hello ")
	_ = http.NewResponseController(w).Flush()
	switch todo {
	case endsInside:
		_ = conn.Close()
		panic(http.ErrAbortHandler)
	case isSlow:
		<-time.After(2 * hangTimeout)
	}
	_, _ = io.WriteString(w, "world")
	if grpc {
		w.Header().Set("Grpc-Status", "0")
	}
}

// upgrade goes on in another protocol: lines.
func (p *party) upgrade(w http.ResponseWriter, todo event) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lines\r\nX-Party: "+p.name+"\r\n\r\n")
	p.talk(conn, rw.Reader, todo)
}

// lines serves a connection of plain lines: the first is its id.
func (p *party) lines(c net.Conn) {
	in := bufio.NewReader(c)
	id, err := in.ReadString('\n')
	if err != nil {
		return
	}
	todo := p.begin(id[:len(id)-1])
	switch todo {
	case ends:
		return
	case hangs:
		_, _ = in.ReadByte()
		return
	case isStopped:
		p.stop()
	}
	_, _ = io.WriteString(c, p.name+"\n")
	p.talk(c, in, todo)
}

// talk answers one line by a half, and by another.
func (p *party) talk(c net.Conn, in *bufio.Reader, todo event) {
	if _, err := in.ReadString('\n'); err != nil {
		return
	}
	_, _ = io.WriteString(c, "hello ")
	switch todo {
	case endsInside:
		return
	case isSlow:
		<-time.After(2 * hangTimeout)
	}
	_, _ = io.WriteString(c, "world\n")
	_, _ = in.ReadString('\n')
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
