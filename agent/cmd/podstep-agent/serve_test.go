//go:build linux

package main

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/wire"
)

const web = testpod.Pod4 + ":80"

// again makes a request every 20 ms until the target serves one, and returns how long after began that one was begun.
func again(t *testing.T, client *testpod.Client, began time.Time) time.Duration {
	t.Helper()
	served := make(chan time.Duration, 1024)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		at := time.Since(began)
		if at > 10*time.Second {
			t.Fatal("the target does not serve again within 10 s")
		}
		// Those that are stuck in a stopped agent are left behind; they end with their own timeout.
		go func() {
			if whoServes(client, web, time.Second) == "target" {
				served <- at
			}
		}()
		select {
		case at := <-served:
			return at
		case <-tick.C:
		}
	}
}

func TestTargetServesAgainWhenTheAgentIsKilled(t *testing.T) {
	client := testpod.NewClient(t)
	target := python(t, nil)
	a := startAgent(t, target.Process.Pid, "alice")
	a.steal(t, 80)
	if who := whoServes(client, web, 10*time.Second); who != "debuggee" {
		t.Fatalf("before: %s", who)
	}
	killed := time.Now()
	if err := a.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	d := again(t, client, killed)
	t.Logf("a request begun %s after kill -9 of the agent is served by the target", d.Round(time.Millisecond))
	if d > time.Second {
		t.Errorf("served after %s", d)
	}
	<-a.waited
	if left := tables(t); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestTargetServesAgainWhenTheAgentIsStopped(t *testing.T) {
	client := testpod.NewClient(t)
	target := python(t, nil)
	a := startAgent(t, target.Process.Pid, "alice")
	a.steal(t, 80)
	if who := whoServes(client, web, 10*time.Second); who != "debuggee" {
		t.Fatalf("before: %s", who)
	}
	stopped := time.Now()
	if err := a.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	d := again(t, client, stopped)
	t.Logf("a request begun %s after SIGSTOP of the agent is served by the target", d.Round(time.Millisecond))
	if d > 2*time.Second {
		t.Errorf("served after %s", d)
	}
	if err := a.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	testpod.Eventually(t, "stolen again", func() bool { return whoServes(client, web, time.Second) == "debuggee" })
}

func TestTargetServesAgainWhenTheLinkEnds(t *testing.T) {
	for name, end := range map[string]func(*agentProcess){
		"link closed": func(a *agentProcess) { _ = a.link.Close() },
		"SIGTERM":     func(a *agentProcess) { _ = a.Process.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			client := testpod.NewClient(t)
			target := python(t, nil)
			a := startAgent(t, target.Process.Pid, "alice")
			a.steal(t, 80)
			a.steal(t, 81)
			if who := whoServes(client, web, 10*time.Second); who != "debuggee" {
				t.Fatalf("before: %s", who)
			}
			began := time.Now()
			end(a)
			d := again(t, client, began)
			t.Logf("a request begun %s after the end is served by the target", d.Round(time.Millisecond))
			if d > time.Second {
				t.Errorf("served after %s", d)
			}
			<-a.waited
			if a.err != nil {
				t.Errorf("agent: %v\n%s", a.err, a.log)
			}
			if left := tables(t); left != "" {
				t.Errorf("left: %s", left)
			}
		})
	}
}

func TestAgentEndsWithItsTargetAndSaysSo(t *testing.T) {
	client := testpod.NewClient(t)
	target := python(t, nil)
	a := startAgent(t, target.Process.Pid, "alice")
	sub := a.steal(t, 80)
	if who := whoServes(client, web, 10*time.Second); who != "debuggee" {
		t.Fatalf("before: %s", who)
	}
	if err := target.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-a.waited
	if a.err == nil || !strings.Contains(a.log.String(), "the target's process ended") {
		t.Errorf("agent: %v\n%s", a.err, a.log)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.ended) != 1 || a.ended[0].ID != sub.ID || a.ended[0].Refusal.Errno != syscall.ESRCH {
		t.Errorf("told %+v", a.ended)
	}
	if left := tables(t); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestTwoAgentsStealBesideEachOther(t *testing.T) {
	client := testpod.NewClient(t)
	target := python(t, nil)
	alice, bob := startAgent(t, target.Process.Pid, "alice@laptop"), startAgent(t, target.Process.Pid, "bob@desk")
	alice.steal(t, 80)
	var refusal *wire.Refusal
	if _, err := bob.client.Subscribe(t.Context(), wire.SubscribeParams{Port: 80, Mode: wire.ModeSteal}); !errors.As(err, &refusal) ||
		refusal.Errno != syscall.EBUSY || refusal.Reason != wire.ReasonTaken || !strings.Contains(refusal.Text, "port 80 is stolen by alice@laptop since ") {
		t.Errorf("second thief is told %v", err)
	}
	bob.steal(t, 81)
	alice.on(refuse)
	for addr, want := range map[string]string{web: "target", testpod.Pod4 + ":81": "debuggee"} {
		if who := whoServes(client, addr, 10*time.Second); who != want {
			t.Errorf("%s: %s", addr, who)
		}
	}
	// The port is bob's as soon as alice is gone.
	_ = alice.link.Close()
	<-alice.waited
	bob.steal(t, 80)
	if who := whoServes(client, web, 10*time.Second); who != "debuggee" {
		t.Errorf("after alice: %s", who)
	}
}

func TestDescribeTellsWhatAProcessInTheTargetSees(t *testing.T) {
	testpod.NewClient(t)
	target := python(t, nil)
	a := startAgent(t, target.Process.Pid, "alice")
	d, err := a.client.Describe(t.Context(), wire.DescribeParams{Environment: true})
	if err != nil {
		t.Fatal(err)
	}
	conf, _ := os.ReadFile("/etc/resolv.conf")
	if d.Hostname != "web-0" || d.ResolvConf != string(conf) || !slices.Contains(d.Environment, "PODSTEP_TEST_VALUE=from the pod") {
		t.Errorf("hostname %q, %d bytes of resolv.conf, %d variables", d.Hostname, len(d.ResolvConf), len(d.Environment))
	}
	var addresses []string
	for _, address := range d.Addresses {
		addresses = append(addresses, address.String())
	}
	if want := []string{testpod.Pod4, testpod.Pod6}; !slices.Equal(addresses, want) {
		t.Errorf("addresses %v, want %v", addresses, want)
	}
	if d, err = a.client.Describe(t.Context(), wire.DescribeParams{}); err != nil || len(d.Environment) != 0 {
		t.Errorf("unasked: %d variables, %v", len(d.Environment), err)
	}
}

func TestDialGivesTheKernelsVerdict(t *testing.T) {
	testpod.NewClient(t)
	target := python(t, nil)
	a := startAgent(t, target.Process.Pid, "alice")
	open := func(to string) (string, error) {
		st, err := a.link.Open(t.Context(), wire.Header{Kind: wire.KindDial, Address: netip.MustParseAddrPort(to)}, []byte("GET / HTTP/1.0\r\n\r\n"))
		if err != nil {
			return "", err
		}
		defer func() { _ = st.Close() }()
		buf := make([]byte, 64)
		n, err := st.Read(buf)
		return st.Answer.Local.Addr().String() + " " + string(buf[:min(n, 8)]), err
	}
	for to, want := range map[string]string{
		web: testpod.Pod4 + " HTTP/1.0", "[" + testpod.Pod6 + "]:80": testpod.Pod6 + " HTTP/1.0",
		"127.0.0.1:80": "127.0.0.1 HTTP/1.0", "[::ffff:127.0.0.1]:80": "127.0.0.1 HTTP/1.0",
	} {
		if got, err := open(to); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", to, got, err, want)
		}
	}
	for to, want := range map[string]syscall.Errno{
		testpod.Pod4 + ":9": syscall.ECONNREFUSED, "192.0.2.1:80": syscall.ENETUNREACH, "[2001:db8::1]:80": syscall.ENETUNREACH,
		"255.255.255.255:80": syscall.ENETUNREACH,
	} {
		_, native := net.DialTimeout("tcp", to, 5*time.Second)
		if !errors.Is(native, want) {
			t.Logf("%s: the kernel here says %v", to, native)
			errors.As(native, &want)
		}
		_, err := open(to)
		var refusal *wire.Refusal
		if !errors.As(err, &refusal) || refusal.Errno != want {
			t.Errorf("%s: %v, want %v", to, err, want)
		}
	}
	if _, err := a.link.Open(t.Context(), wire.Header{Kind: "teapot"}, nil); !errors.Is(err, syscall.ENOTSUP) {
		t.Errorf("unknown kind: %v", err)
	}
}

func TestSessionHasOneControlStreamAndEndsWithIt(t *testing.T) {
	testpod.NewClient(t)
	target := python(t, nil)
	a := startAgent(t, target.Process.Pid, "alice")
	if _, err := a.link.Open(t.Context(), wire.Header{Kind: wire.KindControl}, nil); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("second control stream: %v", err)
	}
	a.steal(t, 80)
	if err := a.client.Close(); err != nil {
		t.Fatal(err)
	}
	<-a.waited
	if a.err != nil {
		t.Errorf("agent: %v", a.err)
	}
	if left := tables(t); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestServeRefusesWhatItCannotServe(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "--pid N is needed"},
		{[]string{"--pid", "0"}, "--pid N is needed"},
		{[]string{"--pid", "1", "more"}, "--pid N is needed"},
		{[]string{"--pid", "999999999"}, "no such process"},
		{[]string{"--pid", "1", "--log", "loud"}, "log level"},
	} {
		cmd := testpod.Helper(t, "agent", append([]string{"serve"}, test.args...)...)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), test.want) {
			t.Errorf("%v: %v: %s", test.args, err, out)
		}
	}
}
