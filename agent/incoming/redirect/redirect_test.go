//go:build linux

package redirect

import (
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/wire"
)

// hangUp is an Accepted that closes each connection and tells of it.
func hangUp(told chan<- [2]netip.AddrPort) Accepted {
	return func(conn *net.TCPConn, from, to netip.AddrPort) {
		_ = conn.Close()
		told <- [2]netip.AddrPort{from, to}
	}
}

func start(t *testing.T, port uint16, opts Options) (*Steal, chan [2]netip.AddrPort) {
	t.Helper()
	told := make(chan [2]netip.AddrPort, 64)
	s, err := Start(port, hangUp(told), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, told
}

func tables(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "tables").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
	return string(out)
}

func TestSecondThiefIsToldWhoHoldsThePort(t *testing.T) {
	holder := wire.Holder{Name: "alice@laptop", Session: "s1", Since: time.Date(2026, 3, 4, 12, 3, 0, 0, time.UTC)}
	start(t, 80, Options{Holder: holder})
	_, err := Start(80, nil, Options{Holder: wire.Holder{Name: "bob"}})
	var refusal *wire.Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("not a refusal: %v", err)
	}
	want := &wire.Refusal{Errno: syscall.EBUSY, Reason: wire.ReasonTaken, Text: "port 80 is stolen by alice@laptop since 12:03 UTC"}
	if diff := cmp.Diff(want, refusal); diff != "" {
		t.Error(diff)
	}
	if got, ok := ReadHolder(80); !ok || got != holder {
		t.Errorf("holder %+v, %t", got, ok)
	}
	// Another port is free.
	start(t, 81, Options{})
}

func TestOnlyOneOfManyThievesWins(t *testing.T) {
	const thieves = 8
	results := make(chan error, thieves)
	steals := make(chan *Steal, thieves)
	for range thieves {
		go func() {
			s, err := Start(80, hangUp(make(chan [2]netip.AddrPort, 1)), Options{})
			if err == nil {
				steals <- s
			}
			results <- err
		}()
	}
	won := 0
	for range thieves {
		err := <-results
		switch {
		case err == nil:
			won++
		case !errors.Is(err, syscall.EBUSY):
			t.Errorf("loser is told %v", err)
		}
	}
	if won != 1 {
		t.Fatalf("%d thieves won", won)
	}
	if err := (<-steals).Close(); err != nil {
		t.Error(err)
	}
}

func TestLongHolderIsCutNotRefused(t *testing.T) {
	start(t, 80, Options{Holder: wire.Holder{Name: strings.Repeat("ä", 300), Session: strings.Repeat("s", 300)}})
	h, ok := ReadHolder(80)
	if !ok || !strings.HasPrefix(h.Name, "äää") || len(h.Name) > maxComment {
		t.Errorf("holder %+v, %t", h, ok)
	}
}

func TestTableIsOwnedAndCannotBeChangedByOthers(t *testing.T) {
	start(t, 80, Options{Holder: wire.Holder{Name: "alice"}})
	out, err := exec.Command("nft", "list", "table", "inet", "podstep-80").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "flags owner") || !strings.Contains(string(out), "alice") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := exec.Command("nft", "add", "element", "inet", "podstep-80", "stolen", "{ 81 timeout 1s }").CombinedOutput(); err == nil {
		t.Errorf("a stranger added an element: %s", out)
	}
}

func TestReleaseFreesThePortAtOnce(t *testing.T) {
	s, _ := start(t, 80, Options{})
	clients, err := OpenClients()
	if err != nil {
		t.Fatal(err)
	}
	if got := tables(t); strings.Count(got, "podstep-") != 2 {
		t.Errorf("tables: %s", got)
	}
	if err := errors.Join(s.Release(), clients.Close()); err != nil {
		t.Fatal(err)
	}
	if got := tables(t); got != "" {
		t.Errorf("left: %s", got)
	}
	again, err := Start(80, hangUp(make(chan [2]netip.AddrPort, 1)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestRuleOutlivesItsExpiryWhileRefreshed(t *testing.T) {
	_, told := start(t, 80, Options{})
	deadline := time.After(3 * Expiry)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	n := 0
	for {
		select {
		case <-deadline:
			if n < 20 {
				t.Errorf("only %d connections in %s", n, 3*Expiry)
			}
			return
		case <-tick.C:
		}
		conn, err := net.Dial("tcp", "127.0.0.1:80")
		if err != nil {
			t.Fatalf("not stolen after %d connections: %v", n, err)
		}
		_ = conn.Close()
		if got := <-told; got[1].String() != "127.0.0.1:80" {
			t.Errorf("original destination %s", got[1])
		}
		n++
	}
}

func TestSuspendLetsConnectionsGoByAndKeepsThePort(t *testing.T) {
	s, told := start(t, 80, Options{})
	for _, on := range []bool{true, false, true, false} {
		if err := s.Suspend(on); err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", "127.0.0.1:80")
		if on {
			if !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("suspended: %v", err)
			}
			if _, err := Start(80, nil, Options{}); !errors.Is(err, syscall.EBUSY) {
				t.Errorf("suspended port is not held: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		<-told
	}
}

func TestListenerIsOfNoUseToStrangers(t *testing.T) {
	client := testpod.NewClient(t)
	s, told := start(t, 80, Options{})
	for _, l := range s.listeners {
		at := address(l.Addr())
		if !at.Addr().IsLoopback() {
			t.Errorf("listens on %s", at)
		}
		if err := knock(at.String()); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("stranger at %s: %v", at, err)
		}
		for _, pod := range []string{testpod.Pod4, testpod.Pod6} {
			outside := netip.AddrPortFrom(netip.MustParseAddr(pod), at.Port())
			if _, err := client.Dial(outside.String()); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s from outside: %v", outside, err)
			}
		}
	}
	select {
	case got := <-told:
		t.Errorf("stranger was handed over: %v", got)
	default:
	}
}

// knock connects and reads until the end, which is its error.
func knock(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err = conn.Read(make([]byte, 1))
	return err
}

func TestPowerlessThiefLearnsWhatIsMissing(t *testing.T) {
	out, err := testpod.Helper(t, "powerless").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, "the agent lacks the capability NET_ADMIN") {
			t.Errorf("told: %s", line)
		}
	}
	if strings.Count(string(out), "\n") != 2 {
		t.Errorf("told: %s", out)
	}
}

func TestPodWithoutIPv6IsStolenFrom(t *testing.T) {
	ip := func(verb string) {
		if out, err := exec.Command("ip", "addr", verb, "::1/128", "dev", "lo").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	ip("del")
	defer ip("add")
	_, told := start(t, 80, Options{})
	conn, err := net.Dial("tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	<-told
}
