package borrow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/control"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
	"podstep.dev/launcher"
)

// fakeTarget is a provider and its one target. The test sends its sets.
type fakeTarget struct {
	sets   chan []place.Place
	over   error
	closed chan struct{}
	// revoked takes the right to steal away.
	revoked chan place.Revocation
}

func (f *fakeTarget) Revoked() <-chan place.Revocation { return f.revoked }

func newTarget(first ...place.Place) *fakeTarget {
	f := &fakeTarget{sets: make(chan []place.Place, 1), closed: make(chan struct{}), revoked: make(chan place.Revocation, 1)}
	f.sets <- first
	return f
}

func (f *fakeTarget) Find(context.Context, config.Mirror, func(string)) (place.Target, error) {
	return f, nil
}

func (f *fakeTarget) Places(ctx context.Context) <-chan []place.Place {
	out := make(chan []place.Place)
	go func() {
		defer close(out)
		for {
			select {
			case set, ok := <-f.sets:
				if !ok {
					return
				}
				select {
				case out <- set:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func (f *fakeTarget) Err() error { return f.over }

func (f *fakeTarget) Close() error {
	close(f.closed)
	return nil
}

// gone ends the target for good.
func (f *fakeTarget) gone(why error) {
	f.over = why
	close(f.sets)
}

// fakePlace is a place with an agent that the test has in its hand. The zero value of what may be set is: all goes well.
type fakePlace struct {
	t        *testing.T
	name     string
	incoming place.Incoming
	passing  bool // not Lasting

	mu sync.Mutex
	// agent is what the agents say of themselves; asked are the subscriptions that sessions asked for.
	agent wire.Hello
	asked []wire.SubscribeParams
	// attach says why Attach fails; refuse what a subscription is refused with.
	attach error
	refuse *wire.Refusal
	// stuck is why the agent cannot end a subscription.
	stuck error
	// existing is how many connections each port had before.
	existing int
	// reset and kept are what it says of them when they are to be reset.
	reset int
	kept  string
	// heard are the calls of the sessions and how often one began, in order.
	heard []string
	// witnessed is what its owners' record has.
	witnessed []string
	attaches  int
	link      *mux.Session
	server    *control.Server
	parts     []io.Closer
	last      uint64
}

func newPlace(t *testing.T, name string) *fakePlace {
	p := &fakePlace{t: t, name: name, agent: wire.Hello{Program: "agent"}}
	t.Cleanup(p.drop)
	return p
}

func (p *fakePlace) ID() string               { return p.name + "@1" }
func (p *fakePlace) String() string           { return p.name }
func (p *fakePlace) Lasting() bool            { return !p.passing }
func (p *fakePlace) Incoming() place.Incoming { return p.incoming }

func (p *fakePlace) Held()             { p.witness("held") }
func (p *fakePlace) Refused(why error) { p.witness("refused: " + fault.As(why).Summary()) }
func (p *fakePlace) Yielded(ports []uint16, why string) {
	p.witness(fmt.Sprintf("yielded %v: %s", ports, why))
}

func (p *fakePlace) witness(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.witnessed = append(p.witnessed, what)
}

func (p *fakePlace) record() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.witnessed)
}

// question has the agent tell the session of somebody who asks.
func (p *fakePlace) question(q wire.AskedParams) {
	p.t.Helper()
	p.mu.Lock()
	server := p.server
	p.mu.Unlock()
	if err := server.Asked(p.t.Context(), q); err != nil {
		p.t.Error(err)
	}
}

// Attach starts an agent's end of a link.
func (p *fakePlace) Attach(context.Context) (io.ReadWriteCloser, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attaches++
	if p.attach != nil {
		return nil, p.attach
	}
	ours, theirs := testkit.Pair(p.t)
	p.parts = append(p.parts, theirs)
	go func() {
		defer p.note("over")
		link, err := mux.Start(context.WithoutCancel(p.t.Context()), theirs, mux.AgentSide, mux.Options{Hello: p.agent})
		if err != nil {
			return
		}
		p.note("greeted %s", link.Peer.Session)
		p.mu.Lock()
		p.link = link
		p.mu.Unlock()
		_ = link.Serve(p.serve)
		_ = link.Close()
	}()
	return ours, nil
}

func (p *fakePlace) serve(st *mux.Stream) {
	switch st.Header.Kind {
	case wire.KindControl:
		_ = st.Opened(wire.Answer{})
		server := control.NewServer(context.WithoutCancel(p.t.Context()), st, p, nil)
		p.mu.Lock()
		p.server = server
		p.mu.Unlock()
		<-server.Done()
	case wire.KindDial, wire.KindDNS:
		_ = st.Opened(wire.Answer{})
		_, _ = io.WriteString(st, p.name)
		_, _ = io.Copy(io.Discard, st)
		_ = st.Close()
	}
}

func (p *fakePlace) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = append(p.heard, fmt.Sprintf(format, args...))
}

func (p *fakePlace) Describe(_ context.Context, d wire.DescribeParams) (wire.Description, error) {
	_, host, _ := strings.Cut(p.name, "/")
	description := wire.Description{Hostname: host}
	if d.Environment {
		description.Environment = []string{"POD=" + host}
	}
	return description, nil
}

func (p *fakePlace) Subscribe(_ context.Context, s wire.SubscribeParams) (wire.Subscription, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse != nil {
		p.heard = append(p.heard, fmt.Sprintf("refused %d", s.Port))
		return wire.Subscription{}, p.refuse
	}
	p.last++
	p.asked = append(p.asked, s)
	p.heard = append(p.heard, fmt.Sprintf("%s %d probes=%v loopback=%v as %d", s.Mode, s.Port, s.Probes, s.Loopback, p.last))
	return wire.Subscription{ID: p.last, Existing: p.existing, Reset: p.reset, Kept: p.kept}, nil
}

func (p *fakePlace) Unsubscribe(_ context.Context, u wire.UnsubscribeParams) error {
	p.note("unsubscribe %d", u.ID)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stuck
}

func (p *fakePlace) Paused(_ context.Context, s wire.PausedParams) error {
	p.note("paused=%v", s.Paused)
	return nil
}

func (p *fakePlace) Patience(_ context.Context, s wire.PatienceParams) error {
	p.note("patience %d", s.Hold)
	return nil
}

func (p *fakePlace) Leave(_ context.Context, l wire.LeaveParams) error {
	p.note("leave %d", l.Linger)
	return nil
}

func (p *fakePlace) Ask(context.Context, wire.AskParams) (wire.AskResult, error) {
	return wire.AskResult{}, errors.New("nobody asks")
}

func (p *fakePlace) Answer(_ context.Context, a wire.AnswerParams) error {
	p.note("answer %d released=%v", a.ID, a.Released)
	return nil
}

func (p *fakePlace) Sessions(context.Context) (wire.Sessions, error) {
	return wire.Sessions{}, errors.New("nobody asks")
}

// drop cuts all links.
func (p *fakePlace) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.parts {
		_ = c.Close()
	}
	p.parts = nil
}

// set changes what may be set.
func (p *fakePlace) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// hears waits until the agents of the place have heard want, in any place of what they heard.
func (p *fakePlace) hears(want string) {
	p.t.Helper()
	testkit.Eventually(p.t, p.name+" hears "+want, func() bool { return slices.Contains(p.all(), want) })
}

func (p *fakePlace) all() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.heard)
}

// times counts how often want was heard.
func (p *fakePlace) times(want string) (n int) {
	for _, h := range p.all() {
		if h == want {
			n++
		}
	}
	return n
}

// fakeHost stands in for the interception: what is delivered is echoed by "the debuggee".
type fakeHost struct {
	opts   launcher.Options
	closed chan struct{}
	echo   func() (splice.Conn, error)
}

func (h *fakeHost) Command(argv []string, _ launcher.How) []string { return argv }

func (h *fakeHost) Deliver(context.Context, uint16, netip.AddrPort, netip.AddrPort) (splice.Conn, error) {
	if h.echo == nil {
		return nil, syscall.ECONNREFUSED
	}
	return h.echo()
}

func (h *fakeHost) Close() error {
	close(h.closed)
	return nil
}

// stage is a borrow of fakes and what the person heard.
type stage struct {
	*testing.T
	*Borrow
	host *fakeHost

	mu   sync.Mutex
	said []string
}

// begin starts a session that steals port 80, with its runtime directory in the test's.
func begin(t *testing.T, target *fakeTarget, change func(*config.Mirror)) (*stage, error) {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	t.Setenv("TMPDIR", t.TempDir()) // other tests have sessions in the system's
	s := &stage{T: t, host: &fakeHost{closed: make(chan struct{})}}
	m := config.Default()
	m.Target, m.Incoming = "deployment/web", config.Incoming{Mode: config.ModeSteal, Ports: map[uint16]uint16{80: 8080}}
	m.Agent.Linger = 7
	if change != nil {
		change(&m)
	}
	var err error
	s.Borrow, err = Start(t.Context(), m, Options{
		Provider: target, Say: s.hear, Hello: wire.Hello{Session: "s1"},
		listen: func(_ context.Context, _ string, opts launcher.Options) (host, error) {
			s.host.opts = opts
			return s.host, nil
		},
	})
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

func mustBegin(t *testing.T, target *fakeTarget, change func(*config.Mirror)) *stage {
	t.Helper()
	s, err := begin(t, target, change)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stage) hear(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, line)
}

func (s *stage) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.said)
}

// saysSoon waits for a line that begins with want.
func (s *stage) saysSoon(want string) {
	s.Helper()
	testkit.Eventually(s, "the person hears: "+want, func() bool {
		return slices.ContainsFunc(s.lines(), func(line string) bool { return strings.HasPrefix(line, want) })
	})
}

// dials says which place a connection of the debuggee goes through.
func (s *stage) dials() string {
	s.Helper()
	conn, _, err := s.host.opts.Link.Dial(s.Context(), netip.MustParseAddrPort("10.0.0.1:80"))
	if err != nil {
		return err.Error()
	}
	_ = conn.CloseWrite()
	text, err := io.ReadAll(conn)
	if err != nil {
		s.Error(err)
	}
	_ = conn.Close()
	return string(text)
}
