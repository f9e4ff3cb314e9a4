package borrow

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// granted is what a place hears of the usual subscription.
const granted = "steal 80 probes=[] loopback=false as "

var taken = &wire.Refusal{Errno: syscall.EBUSY, Reason: wire.ReasonTaken, Text: "bob@laptop has it"}

func TestStartStealsFromAllPlacesAndCloseGivesThemBack(t *testing.T) {
	a, b := newPlace(t, "pod/a"), newPlace(t, "pod/b")
	b.incoming = place.Incoming{Probes: map[uint16][]string{80: {"/healthz"}, 81: {"/no"}}, Loopback: true}
	target := newTarget(a, b)
	s := mustBegin(t, target, nil)
	want := Status{Target: "deployment/web", Mode: "steal", Ports: []uint16{80}, Places: []Place{{"pod/a", "attached"}, {"pod/b", "attached"}}}
	if diff := cmp.Diff(want, s.Status()); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	lines := s.lines()
	slices.Sort(lines)
	if diff := cmp.Diff([]string{"attached to pod/a", "attached to pod/b", "stealing port 80 of deployment/web to port 8080 of the program"}, lines); diff != "" {
		t.Errorf("the person heard (-want +got):\n%s", diff)
	}
	// Outgoing goes where the environment is from.
	first := s.dials()
	if host := s.host.opts.Plan.Hostname; "pod/"+host != first || s.Env()["POD"] != host {
		t.Errorf("hostname %q, environment %v, dialled from %s", host, s.Env(), first)
	}
	began := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > farewell {
		t.Errorf("Close took %v", took)
	}
	<-target.closed
	<-s.host.closed
	for p, subscribed := range map[*fakePlace]string{a: granted + "1", b: "steal 80 probes=[/healthz] loopback=true as 1"} {
		p.hears("over")
		if diff := cmp.Diff([]string{"greeted s1", subscribed, "unsubscribe 1", "leave 7", "over"}, p.all()); diff != "" {
			t.Errorf("%s heard (-want +got):\n%s", p, diff)
		}
	}
	if err := s.Err(); !errors.Is(err, mux.ErrClosed) {
		t.Errorf("Err = %v, want ErrClosed", err)
	}
}

func TestLostLinkComesBackWithItsSubscriptions(t *testing.T) {
	a := newPlace(t, "pod/a")
	s := mustBegin(t, newTarget(a), nil)
	s.host.opts.Listening(t.Context(), 9090) // "ports" does not name it
	conn, err := s.host.opts.Link.DNS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a.drop()
	if _, err := io.Copy(io.Discard, conn); err == nil {
		t.Error("a stream ended well with its link")
	}
	_ = conn.Close()
	s.saysSoon("lost the link to pod/a: link ended by the other end; it serves by itself until the link is back")
	s.saysSoon("pod/a is back after ")
	if got := s.dials(); got != "pod/a" {
		t.Errorf("dialled from %s", got)
	}
	if n := a.times("greeted s1"); n != 2 || a.times(granted+"2") != 1 {
		t.Errorf("heard %q, want the same session again and its port", a.all())
	}
	if n := a.times("leave 7"); n > 0 {
		t.Error("the session left although it comes back")
	}
}

func TestAnAgentThatGivesUpIsAskedAgain(t *testing.T) {
	a := newPlace(t, "pod/a")
	s := mustBegin(t, newTarget(a), nil)
	a.mu.Lock()
	server := a.server
	a.mu.Unlock()
	// The link may end before the notice is known to have left.
	_ = server.Ended(t.Context(), wire.EndedParams{ID: 1, Refusal: wire.Refusal{Errno: syscall.ESRCH, Text: "the container ended"}})
	s.saysSoon("lost the link to pod/a: the container ended")
	s.saysSoon("pod/a is back after ")
	if a.times("leave 7") > 0 {
		t.Error("the session left although it comes back")
	}
}

func TestLostLinkOfAPlaceThatDoesNotLastEndsTheSession(t *testing.T) {
	a := newPlace(t, "process/1")
	a.passing = true
	s := mustBegin(t, newTarget(a), nil)
	a.drop()
	<-s.Done()
	if f := fault.As(s.Err()); f.ID != fault.LinkLost || !strings.Contains(f.What, "process/1") {
		t.Errorf("ended with %v, want LinkLost", s.Err())
	}
}

func TestPlacesComeAndGo(t *testing.T) {
	a, b, c := newPlace(t, "pod/a"), newPlace(t, "pod/b"), newPlace(t, "pod/c")
	target := newTarget(a)
	s := mustBegin(t, target, nil)
	target.sets <- []place.Place{a, b}
	s.saysSoon("also stealing from pod/b")
	b.hears(granted + "1")
	if got := s.dials(); got != "pod/a" {
		t.Errorf("dialled from %s, want the oldest", got)
	}
	target.sets <- []place.Place{b}
	a.hears("over")
	if diff := cmp.Diff([]string{"greeted s1", granted + "1", "unsubscribe 1", "leave 7", "over"}, a.all()); diff != "" {
		t.Errorf("what left heard (-want +got):\n%s", diff)
	}
	if got := s.dials(); got != "pod/b" {
		t.Errorf("dialled from %s, want the one that is left", got)
	}
	target.sets <- nil
	s.saysSoon("waiting for a new pod of deployment/web")
	b.hears("over")
	dialled := make(chan string)
	go func() { dialled <- s.dials() }()
	target.sets <- []place.Place{c}
	if got := <-dialled; got != "pod/c" {
		t.Errorf("dialled from %s, want the new one, waited for", got)
	}
	s.saysSoon("stealing from pod/c")
	gone := fault.New(fault.TargetGone, "deployment/web was deleted", nil)
	target.gone(gone)
	<-s.Done()
	if !errors.Is(s.Err(), gone) {
		t.Errorf("ended with %v, want what the target says", s.Err())
	}
	c.hears("leave 7")
}

func TestStartFailsAsAWholeWhenOnePlaceRefuses(t *testing.T) {
	a, b := newPlace(t, "pod/a"), newPlace(t, "pod/b")
	b.refuse = taken
	target := newTarget(a, b)
	_, err := begin(t, target, nil)
	if f := fault.As(err); f.ID != fault.PortTaken || f.Summary() != "cannot steal port 80 of pod/b: bob@laptop has it (device or resource busy)" {
		t.Fatalf("Start = %v, want PortTaken of pod/b", err)
	}
	<-target.closed
	// Nothing is half stolen: what was granted elsewhere goes with its link.
	testkit.Eventually(t, "the link to pod/a is over", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.attaches == strings.Count(strings.Join(a.heard, " "), "over")
	})
}

func TestStartFailsAsAWholeWhenOnePlaceCannotBeAttachedTo(t *testing.T) {
	a, b := newPlace(t, "pod/a"), newPlace(t, "pod/b")
	b.attach = fault.New(fault.AgentRefused, "pod/b: not admitted", nil)
	_, err := begin(t, newTarget(a, b), nil)
	if f := fault.As(err); f.ID != fault.AgentRefused {
		t.Fatalf("Start = %v, want AgentRefused", err)
	}
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	a := newPlace(t, "pod/a")
	a.attach = place.Temporary(errors.New("no route"))
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errors.New("the editor went"))
	defer cancel()
	m := config.Default()
	m.Target = "pod/a"
	target := newTarget(a)
	if _, err := Start(ctx, m, Options{Provider: target}); err == nil || !strings.Contains(err.Error(), "the editor went") {
		t.Errorf("Start = %v, want the cause", err)
	}
	<-target.closed
}

func TestAPlaceThatComesLaterMayBeTaken(t *testing.T) {
	a, b := newPlace(t, "pod/a"), newPlace(t, "pod/b")
	b.refuse = taken
	target := newTarget(a)
	s := mustBegin(t, target, nil)
	target.sets <- []place.Place{a, b}
	s.saysSoon("cannot steal port 80 of pod/b: bob@laptop has it")
	testkit.Eventually(t, "it is asked again", func() bool { return b.times("refused 80") > 1 })
	if got := s.Status().Places[1]; got.State != "refused" {
		t.Errorf("status %v, want refused", got)
	}
	b.set(func() { b.refuse = nil })
	s.saysSoon("also stealing from pod/b")
	if b.times("greeted s1") != 1 {
		t.Errorf("heard %q, want one link", b.all())
	}
	if n := slices.IndexFunc(s.lines(), func(line string) bool { return strings.HasPrefix(line, "still") }); n >= 0 {
		t.Errorf("said %q too early", s.lines()[n])
	}
}

func TestTheSessionGoesOnWithoutAPlaceThatFails(t *testing.T) {
	a, b := newPlace(t, "pod/a"), newPlace(t, "pod/b")
	b.attach = fault.New(fault.AgentRefused, "pod/b does not admit it", nil)
	target := newTarget(a)
	s := mustBegin(t, target, nil)
	target.sets <- []place.Place{a, b}
	s.saysSoon("without pod/b: pod/b does not admit it")
	a.set(func() { a.attach = fault.New(fault.Forbidden, "no more rights", nil) })
	a.drop()
	<-s.Done() // after some doubts: it may only have been on its way out
	if f := fault.As(s.Err()); f.ID != fault.Forbidden {
		t.Errorf("ended with %v, want the fault of the last place", s.Err())
	}
}

func TestAPlaceThatRefusesWhenItComesBackEndsTheSession(t *testing.T) {
	a := newPlace(t, "pod/a")
	s := mustBegin(t, newTarget(a), nil)
	a.set(func() {
		a.refuse = &wire.Refusal{Errno: syscall.EPERM, Reason: wire.ReasonDenied, Text: "no NET_ADMIN"}
	})
	a.drop()
	<-s.Done()
	if f := fault.As(s.Err()); f.ID != fault.SubscribeRefused {
		t.Errorf("ended with %v, want SubscribeRefused", s.Err())
	}
	if n := a.times("refused 80"); n != 1+doubts {
		t.Errorf("asked %d times, want %d", n, 1+doubts)
	}
}

func TestAPlaceThatIsGoneBeforeItLeavesDoesNotEndTheSession(t *testing.T) {
	for name, why := range map[string]error{
		"gone":    fault.New(fault.TargetGone, "pod/a is gone", nil),
		"refused": fault.New(fault.AgentRefused, "pod/a is terminating", nil),
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newPlace(t, "pod/a"), newPlace(t, "pod/b")
			target := newTarget(a)
			s := mustBegin(t, target, nil)
			a.set(func() { a.attach = why })
			a.drop()
			s.saysSoon("lost the link to pod/a")
			testkit.Eventually(t, "it is tried", func() bool {
				a.mu.Lock()
				defer a.mu.Unlock()
				return a.attaches > 1
			})
			target.sets <- []place.Place{b}
			s.saysSoon("stealing from pod/b")
			if err := s.Err(); err != nil {
				t.Errorf("the session ended: %v", err)
			}
		})
	}
}

func TestPortsOfTheProgramAreSubscribedToEverywhere(t *testing.T) {
	a, b := newPlace(t, "pod/a"), newPlace(t, "pod/b")
	target := newTarget(a, b)
	s := mustBegin(t, target, func(m *config.Mirror) { m.Incoming = config.Incoming{Mode: config.ModeMirror} })
	for range 2 {
		s.host.opts.Listening(t.Context(), 8080)
	}
	for _, p := range []*fakePlace{a, b} {
		if p.times("mirror 8080 probes=[] loopback=false as 1") != 1 || p.times("mirror 8080 probes=[] loopback=false as 2") != 0 {
			t.Errorf("%s heard %q, want one subscription", p, p.all())
		}
	}
	a.drop()
	a.hears("mirror 8080 probes=[] loopback=false as 2")
	s.saysSoon("pod/a is back after ")
	b.set(func() { b.refuse = taken })
	s.host.opts.Listening(t.Context(), 8081)
	<-s.Done()
	if f := fault.As(s.Err()); f.ID != fault.PortTaken {
		t.Errorf("ended with %v, want PortTaken", s.Err())
	}
}

func TestConnectionsOfEveryPlaceReachTheProgram(t *testing.T) {
	a, b := newPlace(t, "pod/a"), newPlace(t, "pod/b")
	s := mustBegin(t, newTarget(a, b), nil)
	s.host.echo = func() (splice.Conn, error) {
		near, far := testkit.Pair(t)
		go func() {
			_, _ = io.Copy(far, far)
			_ = far.Close()
		}()
		return near, nil
	}
	ask := func(p *fakePlace) string {
		p.mu.Lock()
		link := p.link
		p.mu.Unlock()
		st, err := link.Open(t.Context(), wire.Header{Kind: wire.KindIncoming, Port: 80}, []byte(p.name))
		if err != nil {
			return err.Error()
		}
		_ = st.CloseWrite()
		text, err := io.ReadAll(st)
		if err != nil {
			t.Error(err)
		}
		_ = st.Close()
		return string(text)
	}
	for _, p := range []*fakePlace{a, b} {
		if got := ask(p); got != p.name {
			t.Errorf("%s was answered %q", p, got)
		}
	}
	s.SetPaused(true)
	if got := ask(b); !strings.Contains(got, "the debugger is stopped") {
		t.Errorf("while paused %s was answered %q", b, got)
	}
	if got := s.Status().Counts; got.Delivered != 2 || got.Refused != 1 {
		t.Errorf("counted %+v", got)
	}
}

func TestAllAgentsHearOfThePausedDebugger(t *testing.T) {
	a, b := newPlace(t, "pod/a"), newPlace(t, "pod/b")
	target := newTarget(a)
	s := mustBegin(t, target, nil)
	s.SetPaused(true)
	a.hears("paused=true")
	target.sets <- []place.Place{a, b}
	b.hears("paused=true")
	s.SetPaused(false)
	a.hears("paused=false")
	b.hears("paused=false")
}
