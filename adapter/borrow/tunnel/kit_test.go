package tunnel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// link joins the two ends of a link. The adapter's serves with tn.
func link(t testing.TB, tn *Tunnel) (agent *mux.Session, clients *Clients) {
	t.Helper()
	a, b := testkit.Pair(t)
	ends := make(chan *mux.Session, 1)
	go func() {
		s, err := mux.Start(t.Context(), a, mux.AdapterSide, mux.Options{})
		if err != nil {
			t.Error(err)
		}
		ends <- s
	}()
	agent, err := mux.Start(t.Context(), b, mux.AgentSide, mux.Options{})
	if err != nil {
		t.Fatal(err)
	}
	adapter := <-ends
	served, clients := make(chan error, 1), &Clients{}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() {
		served <- adapter.Serve(func(st *mux.Stream) { tn.Serve(ctx, clients, st) })
	}()
	t.Cleanup(func() {
		_ = agent.Close()
		cancel()
		<-served
		_ = adapter.Close()
		clients.Close()
	})
	return agent, clients
}

// debuggee is a program that the tunnel delivers to, and what it saw.
type debuggee struct {
	addr string
	// conns counts the connections that it accepted.
	conns atomic.Int64
	// stop ends it, of those that can.
	stop func()
}

// deliver is the tunnel's way to it.
func (d *debuggee) deliver(ctx context.Context, _ uint16, _, _ netip.AddrPort) (splice.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// served is a debuggee of net/http.
func served(t testing.TB, h http.HandlerFunc) *debuggee {
	t.Helper()
	l := listen(t)
	d := &debuggee{addr: l.Addr().String()}
	s := &http.Server{Handler: h, ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			d.conns.Add(1)
		}
	}}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return d
}

// raw is a debuggee that does what it likes with each connection; it is closed behind it.
func raw(t *testing.T, serve func(conn *net.TCPConn, in *bufio.Reader)) *debuggee {
	t.Helper()
	l := listen(t)
	d := &debuggee{addr: l.Addr().String()}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			d.conns.Add(1)
			group.Go(func() {
				defer func() { _ = conn.Close() }()
				serve(conn.(*net.TCPConn), bufio.NewReader(conn))
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); group.Wait() })
	return d
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// agentEnd is the agent's end of a link, which speaks for clients.
type agentEnd struct {
	testing.TB
	*mux.Session
	clients *Clients
	last    atomic.Uint64
}

func connect(t testing.TB, tn *Tunnel, d *debuggee) *agentEnd {
	t.Helper()
	if d != nil {
		tn.Deliver = d.deliver
	}
	a := &agentEnd{TB: t}
	a.Session, a.clients = link(t, tn)
	return a
}

// open asks for a request of a client's connection; more may follow what is sent.
func (a *agentEnd) open(connection uint64, sent string) (*mux.Stream, error) {
	return a.Open(a.Context(), wire.Header{
		Kind: wire.KindRequest, Port: 80, From: from, To: to, Subscription: 1,
		Connection: connection, Request: a.last.Add(1), Protocol: wire.HTTP1,
	}, []byte(sent))
}

// outcome is what became of a request.
type outcome struct {
	Refused  error
	Failed   *wire.Failure
	Response string
	Err      error
}

func (o outcome) String() string {
	return fmt.Sprintf("refused=%v failed=%+v response=%q err=%v", o.Refused, o.Failed, o.Response, o.Err)
}

// ask sends a whole request and waits for what becomes of it.
func (a *agentEnd) ask(connection uint64, request string) outcome {
	stream, err := a.open(connection, request[:min(len(request), wire.MaxFirst)])
	if err != nil {
		return outcome{Refused: err}
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(stream, request[min(len(request), wire.MaxFirst):])
		sent <- errors.Join(err, stream.CloseWrite())
	}()
	o := a.hear(stream)
	if err := <-sent; err != nil && o.Err == nil {
		o.Err = fmt.Errorf("send: %w", err)
	}
	_ = stream.Close()
	return o
}

// hear reads what comes back to the end.
func (a *agentEnd) hear(stream *mux.Stream) (o outcome) {
	var first wire.Outcome
	if o.Err = wire.ReadFrame(stream, &first); o.Err != nil {
		return o
	}
	o.Failed = first.Failed
	b, err := io.ReadAll(stream)
	o.Response, o.Err = string(b), err
	return o
}

// reader parses what comes back, while it comes.
func (a *agentEnd) reader(stream *mux.Stream, method string) *http.Response {
	a.Helper()
	var first wire.Outcome
	if err := wire.ReadFrame(stream, &first); err != nil || first.Failed != nil {
		a.Fatalf("outcome %+v, %v", first, err)
	}
	response, err := http.ReadResponse(bufio.NewReader(stream), &http.Request{Method: method})
	if err != nil {
		a.Fatal(err)
	}
	return response
}

// answered fails the test unless o is a response whose body is want.
func (o outcome) answered(t *testing.T, method, want string) {
	t.Helper()
	if o.Refused != nil || o.Failed != nil || o.Err != nil {
		t.Errorf("got %v, want the body %.80q", o, want)
		return
	}
	in := bufio.NewReader(strings.NewReader(o.Response))
	response, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		t.Errorf("response %.200q: %v", o.Response, err)
		return
	}
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != want || in.Buffered() != 0 {
		t.Errorf("body of %d bytes %.80q, %v, %d bytes more; want %d bytes %.80q", len(body), body, err, in.Buffered(), len(want), want)
	}
}

// isPaused reports whether o left the request to the target because the debugger is stopped.
func (o outcome) isPaused() bool {
	var refusal *wire.Refusal
	return errors.As(o.Refused, &refusal) && refusal.Reason == wire.ReasonPaused && refusal.Errno == syscall.EAGAIN
}

func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: web\r\n\r\n" }

func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: web\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

// readRequest reads one request whose body has a length.
func readRequest(in *bufio.Reader) (*http.Request, error) {
	r, err := http.ReadRequest(in)
	if err == nil {
		_, err = io.Copy(io.Discard, r.Body)
	}
	return r, err
}

// tape records one request.
type tape struct {
	id                uint64
	mu                sync.Mutex
	header            wire.Header
	request, response []byte
	went              []string
	seen              []seen
	ended             bool
	err               error
}

// seen is how the debuggee sees a request.
type seen struct {
	peer   netip.AddrPort
	stream uint32
}

// tapes is a recorder.
type tapes struct {
	mu   sync.Mutex
	list []*tape
}

func (r *tapes) Begin(h wire.Header) Recording {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, &tape{id: uint64(len(r.list) + 1), header: h})
	return r.list[len(r.list)-1]
}

func (r *tapes) all() []*tape {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

func (p *tape) add(what func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	what()
}

func (p *tape) ID() uint64             { return p.id }
func (p *tape) Request(b []byte)       { p.add(func() { p.request = append(p.request, b...) }) }
func (p *tape) Response(b []byte)      { p.add(func() { p.response = append(p.response, b...) }) }
func (p *tape) Went(where, why string) { p.add(func() { p.went = append(p.went, where+": "+why) }) }
func (p *tape) SeenAs(peer netip.AddrPort, stream uint32) {
	p.add(func() { p.seen = append(p.seen, seen{peer, stream}) })
}
func (p *tape) End(err error)     { p.add(func() { p.ended, p.err = true, err }) }
func (p *tape) done() (done bool) { p.add(func() { done = p.ended }); return done }
