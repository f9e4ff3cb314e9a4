package borrow

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

func twoPorts(m *config.Mirror) {
	m.Incoming.Ports = map[uint16]uint16{80: 8080, 81: 8081}
}

func TestWhoIsAskedReleasesAPortOfAllPlacesAndGoesOn(t *testing.T) {
	a, b := newPlace(t, "pod/a"), newPlace(t, "pod/b")
	target := newTarget(a, b)
	s := mustBegin(t, target, twoPorts)
	a.question(wire.AskedParams{ID: 7, Name: "anna@desk", Port: 80, Message: "only\nfor a test", Wait: 40})
	s.saysSoon("anna@desk asks you to release port 80 of deployment/web (waiting 40 s): only for a test; yes: podstep yield, no: podstep yield --keep")
	b.question(wire.AskedParams{ID: 8, Name: "carl@desk", Wait: 40})
	s.saysSoon("carl@desk asks you to release ports 80, 81 of deployment/web (waiting 40 s); yes")

	if given, err := s.Yield(t.Context(), []uint16{80}); err != nil || !slices.Equal(given, []uint16{80}) {
		t.Fatalf("gave %v, %v", given, err)
	}
	a.hears("answer 7 released=true")
	if slices.Contains(b.all(), "answer 8 released=true") {
		t.Error("whoever asked for both ports was told yes when one was released")
	}
	for _, p := range []*fakePlace{a, b} {
		if n := countPrefix(p.all(), "unsubscribe "); n != 1 {
			t.Errorf("%s heard %q, want one unsubscribe", p, p.all())
		}
		if diff := cmp.Diff([]string{"held", "yielded [80]: given back"}, p.record()); diff != "" {
			t.Errorf("the record of %s (-want +got):\n%s", p, diff)
		}
	}
	s.saysSoon("released port 80 of deployment/web: the target answers")
	status := s.Status()
	if !slices.Equal(status.Ports, []uint16{81}) || !slices.Equal(status.Released, []uint16{80}) {
		t.Errorf("status: ports %v, released %v", status.Ports, status.Released)
	}
	// The rest goes on, also over a link that comes back and in a place that comes later.
	if s.dials() == "" {
		t.Error("no outgoing connections")
	}
	late := newPlace(t, "pod/late")
	target.sets <- []place.Place{a, b, late}
	s.saysSoon("also stealing from pod/late")
	a.drop()
	s.saysSoon("pod/a is back")
	for _, p := range []*fakePlace{a, late} {
		heard := p.all()
		if p == a {
			heard = heard[slices.Index(heard, "over"):]
		}
		if countPrefix(heard, "steal 80 ") != 0 || countPrefix(heard, "steal 81 ") != 1 {
			t.Errorf("%s heard %q, want port 81 alone", p, heard)
		}
	}
	if n := s.Keep(t.Context(), 0); n != 1 {
		t.Errorf("answered %d, want the one that is open", n)
	}
	b.hears("answer 8 released=false")
	if n := s.Keep(t.Context(), 0); n != 0 {
		t.Errorf("answered %d again", n)
	}
}

func countPrefix(lines []string, prefix string) (n int) {
	for _, l := range lines {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

func TestOnlyWhatIsStolenIsReleased(t *testing.T) {
	s := mustBegin(t, newTarget(newPlace(t, "pod/a")), nil)
	if _, err := s.Yield(t.Context(), []uint16{80, 443}); err == nil || !strings.Contains(err.Error(), "does not steal port 443") {
		t.Errorf("a port that is not stolen: %v", err)
	}
	if ports := s.Status().Ports; !slices.Equal(ports, []uint16{80}) {
		t.Errorf("ports %v after a wrong one was named, want all of them", ports)
	}
	if _, err := s.Yield(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if _, err := s.Yield(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "steals no port") {
		t.Errorf("twice: %v", err)
	}
	mirror := mustBegin(t, newTarget(newPlace(t, "pod/b")), func(m *config.Mirror) { m.Incoming.Mode = config.ModeMirror })
	if _, err := mirror.Yield(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "steals nothing") {
		t.Errorf("a mirror: %v", err)
	}
}

func TestReleasedPortIsNotAskedForByTheProgramAgain(t *testing.T) {
	a := newPlace(t, "pod/a")
	s := mustBegin(t, newTarget(a), func(m *config.Mirror) { m.Incoming.Ports = nil })
	s.host.opts.Listening(t.Context(), 8080)
	if _, err := s.Yield(t.Context(), []uint16{8080}); err != nil {
		t.Fatal(err)
	}
	s.host.opts.Listening(t.Context(), 8080)
	if n := countPrefix(a.all(), "steal 8080 "); n != 1 {
		t.Errorf("subscribed %d times", n)
	}
}

// TestAgentThatDoesNotReleaseLosesItsLink : with which all that it holds for the session ends.
func TestAgentThatDoesNotReleaseLosesItsLink(t *testing.T) {
	a := newPlace(t, "pod/a")
	a.stuck = errors.New("the kernel says no")
	s := mustBegin(t, newTarget(a), twoPorts)
	if given, err := s.Yield(t.Context(), []uint16{80}); err != nil || !slices.Equal(given, []uint16{80}) {
		t.Errorf("gave %v, %v", given, err)
	}
	s.saysSoon("pod/a is back after ")
	heard := a.all()
	if heard = heard[slices.Index(heard, "over"):]; countPrefix(heard, "steal 80 ") != 0 || countPrefix(heard, "steal 81 ") != 1 {
		t.Errorf("the link that came back asked %q, want port 81 alone", heard)
	}
}

func TestRevokedSessionGivesAllBackAndSaysWho(t *testing.T) {
	a, b := newPlace(t, "pod/a"), newPlace(t, "pod/b")
	target := newTarget(a, b)
	s := mustBegin(t, target, twoPorts)
	a.question(wire.AskedParams{ID: 7, Name: "anna@desk", Port: 80, Wait: 40})
	s.saysSoon("anna@desk asks")
	target.revoked <- place.Revocation{By: "olga@ops", Reason: "load test", Where: "pod/b"}
	s.saysSoon("olga@ops revoked stealing (load test) of deployment/web: the target answers ports 80, 81; the rest of the session goes on")
	a.hears("answer 7 released=true")
	for _, p := range []*fakePlace{a, b} {
		if n := countPrefix(p.all(), "unsubscribe "); n != 2 {
			t.Errorf("%s heard %q", p, p.all())
		}
		testkit.Eventually(t, "the record says why", func() bool {
			return slices.Contains(p.record(), "yielded [80 81]: olga@ops revoked stealing (load test)")
		})
	}
	select {
	case <-s.Done():
		t.Errorf("the session ended: %v", s.Err())
	default:
	}
}

// TestRefusedSessionIsNoBorrower : the record of a place has what was held, and who was refused by whom.
func TestRefusedSessionIsNoBorrower(t *testing.T) {
	a := newPlace(t, "pod/a")
	a.refuse = taken
	_, err := begin(t, newTarget(a), nil)
	if f := fault.As(err); f.ID != fault.PortTaken || !strings.HasPrefix(f.Advice(), "Ask for it: podstep ask deployment/web --port 80. ") {
		t.Errorf("began: %v", err)
	}
	if diff := cmp.Diff([]string{"refused: cannot steal port 80 of pod/a: bob@laptop has it (device or resource busy)"}, a.record()); diff != "" {
		t.Errorf("the record (-want +got):\n%s", diff)
	}
}

func TestAskHintNamesTheCluster(t *testing.T) {
	b := &Borrow{target: config.Target{Kind: "deployment", Name: "web", Container: "app"}}
	b.mirror.Kubeconfig, b.mirror.Context, b.mirror.Namespace = "/home/a b/config", "staging", "shop"
	b.mirror.Agent.Namespace = "tools"
	want := "Ask for it: podstep ask --kubeconfig '/home/a b/config' --context staging -n shop --agent-namespace tools deployment/web --port 80. "
	if got := b.askHint(80, ""); !strings.HasPrefix(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	b.target = config.Target{Kind: config.KindProcess, PID: 4242}
	if got := b.askHint(80, "else"); got != "else" {
		t.Errorf("%q of a process", got)
	}
}
