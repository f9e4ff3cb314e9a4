//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// residentProcess is a running resident.
type residentProcess struct {
	*exec.Cmd
	t      *testing.T
	socket string
	// program is what joins instead of the test's own.
	program string
	log     *testkit.Output
	waited  chan struct{}
	err     error
}

// startResident runs a resident with a door of its own, and without a container to look for; it ends with the test.
func startResident(t *testing.T, args ...string) *residentProcess {
	t.Helper()
	socket := shortDir(t) + "/sock"
	return runResident(t, socket, residentCommand(t, socket, args...))
}

// shortDir is a directory whose name is short enough for a socket's address.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "door")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func residentCommand(t *testing.T, socket string, args ...string) *exec.Cmd {
	return testpod.Helper(t, "agent", append([]string{"resident", "--socket", socket, "--log", "debug"}, args...)...)
}

// runResident runs a resident with the door at socket; it ends with the test.
func runResident(t *testing.T, socket string, cmd *exec.Cmd) *residentProcess {
	t.Helper()
	r := &residentProcess{Cmd: cmd, t: t, socket: socket, log: &testkit.Output{}, waited: make(chan struct{})}
	r.Stderr = r.log
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.waited)
		r.err = r.Wait()
	}()
	t.Cleanup(func() {
		_ = r.Process.Signal(syscall.SIGTERM)
		r.ends(testkit.Patience)
		if t.Failed() {
			t.Logf("resident:\n%s", r.log)
		}
	})
	return r
}

// ends waits for the resident's end and returns its exit status.
func (r *residentProcess) ends(within time.Duration) int {
	r.t.Helper()
	select {
	case <-r.waited:
	case <-time.After(within):
		_ = r.Process.Kill()
		<-r.waited
		r.t.Fatalf("the resident has not ended within %s:\n%s", within, r.log)
	}
	return r.ProcessState.ExitCode()
}

// says waits until the resident's log has words.
func (r *residentProcess) says(words string) {
	r.t.Helper()
	testkit.Eventually(r.t, "the resident says "+words, func() bool { return strings.Contains(r.log.String(), words) })
}

func (r *residentProcess) join(holder, session string) *agentProcess {
	r.t.Helper()
	return startLink(r.t, wire.Hello{Program: "podstep test", Holder: holder, Session: session}, r.command("join"))
}

func (r *residentProcess) command(name string) *exec.Cmd {
	cmd := testpod.Helper(r.t, "agent", name, "--socket", r.socket)
	cmd.SysProcAttr.Credential = r.SysProcAttr.Credential
	if r.program != "" {
		cmd.Path, cmd.Args[0] = r.program, r.program
	}
	return cmd
}

// sessions is what the command prints.
func (r *residentProcess) sessions() []wire.Session {
	r.t.Helper()
	out, err := r.command("sessions").Output()
	var list []wire.Session
	if err == nil {
		err = json.Unmarshal(out, &list)
	}
	if err != nil {
		r.t.Fatalf("sessions: %v: %s", err, out)
	}
	return list
}

// subscribeTo expects a refusal and returns its words.
func (a *agentProcess) refusedTo(t *testing.T, mode wire.Mode, port uint16) *wire.Refusal {
	t.Helper()
	_, err := a.client.Subscribe(t.Context(), wire.SubscribeParams{Port: port, Mode: mode})
	var refusal *wire.Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("%s %d: %v, want a refusal", mode, port, err)
	}
	return refusal
}

func (a *agentProcess) leave(t *testing.T, linger int) {
	t.Helper()
	if err := a.client.Leave(t.Context(), wire.LeaveParams{Linger: linger}); err != nil {
		t.Fatal(err)
	}
	_ = a.link.Close()
	<-a.waited
	if a.err != nil {
		t.Errorf("join: %v: %s", a.err, a.log)
	}
}

func TestSessionsServeSideBySide(t *testing.T) {
	client := testpod.NewClient(t)
	python(t, nil)
	r := startResident(t, "--name", "podstep-x")
	alice, bob := r.join("alice@laptop", "a1"), r.join("bob@desk", "b1")
	alice.steal(t, 80)
	bob.steal(t, 81)
	refused := func(want string) {
		t.Helper()
		refusal := bob.refusedTo(t, wire.ModeSteal, 80)
		if refusal.Reason != wire.ReasonTaken || refusal.Errno != syscall.EBUSY ||
			!strings.HasPrefix(refusal.Text, "port 80 is stolen by alice@laptop since ") || !strings.HasSuffix(refusal.Text, want) {
			t.Errorf("bob is told %+v, want ... %s", refusal, want)
		}
	}
	refused(" UTC; its debugger is not paused")
	before := time.Now().Truncate(time.Second)
	if err := alice.client.Paused(t.Context(), wire.PausedParams{Paused: true}); err != nil {
		t.Fatal(err)
	}
	refused("; its debugger is paused since " + before.UTC().Format("15:04") + " UTC")

	list := r.sessions()
	if len(list) != 2 || list[0].Name != "alice@laptop" || list[0].Session != "a1" || list[0].Program != "podstep test" || list[0].Since.Before(before.Add(-time.Minute)) ||
		!list[0].Paused || list[0].PausedSince.Before(before) || list[1].Name != "bob@desk" || list[1].Paused || !list[1].PausedSince.IsZero() ||
		!cmp.Equal(list[0].Subscriptions, []wire.SubscribeParams{{Port: 80, Mode: wire.ModeSteal}}) || !cmp.Equal(list[1].Subscriptions, []wire.SubscribeParams{{Port: 81, Mode: wire.ModeSteal}}) {
		t.Errorf("sessions: %+v", list)
	}
	if told, err := bob.client.Sessions(t.Context()); err != nil || fmt.Sprint(told.Sessions) != fmt.Sprint(list) {
		t.Errorf("over the link: %+v, %v", told, err)
	}

	// The one is killed, the other goes on.
	killed := time.Now()
	if err := alice.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	d := again(t, client, killed)
	t.Logf("a request begun %s after kill -9 of a session's join is served by the target", d.Round(time.Millisecond))
	if d > time.Second {
		t.Errorf("served after %s", d)
	}
	if who := whoServes(client, testpod.Pod4+":81", 10*time.Second); who != "debuggee" {
		t.Errorf("the other session: %s", who)
	}
	testpod.Eventually(t, "one session left", func() bool { return len(r.sessions()) == 1 })
	bob.steal(t, 80)
	if who := whoServes(client, web, 10*time.Second); who != "debuggee" {
		t.Errorf("stolen by the other session: %s", who)
	}
	if !strings.Contains(tables(t), "podstep-resident") {
		t.Error("the network namespace is not marked")
	}
}

func TestSessionThatComesBackReplacesItsOldLink(t *testing.T) {
	client := testpod.NewClient(t)
	python(t, nil)
	r := startResident(t)
	old := r.join("alice@laptop", "a1")
	old.steal(t, 80)
	// The old link is half dead: its end neither reads nor answers.
	if err := old.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	came := r.join("alice@laptop", "a1")
	came.steal(t, 80)
	t.Logf("the session has its port back %s after it began to join again", time.Since(began).Round(time.Millisecond))
	if who := whoServes(client, web, 10*time.Second); who != "debuggee" {
		t.Errorf("served by %s", who)
	}
	<-old.link.Done()
	if list := r.sessions(); len(list) != 1 {
		t.Errorf("%d sessions", len(list))
	}
	// The old one's end does not count as the session's.
	came.leave(t, 0)
	if status := r.ends(10 * time.Second); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

func TestResidentIsKilledWithItsSessions(t *testing.T) {
	client := testpod.NewClient(t)
	python(t, nil)
	r := startResident(t)
	alice, bob := r.join("alice", "a1"), r.join("bob", "b1")
	alice.steal(t, 80)
	bob.steal(t, 81)
	killed := time.Now()
	if err := r.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	d := again(t, client, killed)
	t.Logf("a request begun %s after kill -9 of the resident is served by the target", d.Round(time.Millisecond))
	if d > time.Second {
		t.Errorf("served after %s", d)
	}
	for _, a := range []*agentProcess{alice, bob} {
		select {
		case <-a.waited:
		case <-time.After(testkit.Patience):
			t.Error("a join outlives its resident")
		}
		<-a.link.Done()
	}
	if left := tables(t); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestSecondResidentLeavesAndNamesTheFirst(t *testing.T) {
	first := startResident(t, "--name", "podstep-x7k2q")
	first.says("resident")
	second := startResident(t, "--name", "podstep-other")
	if status := second.ends(testkit.Patience); status != 75 || !strings.Contains(second.log.String(), "another resident is here: podstep-x7k2q since ") {
		t.Errorf("exit status %d: %s", status, second.log)
	}
	// It is nobody's any more when the first is gone.
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.waited
	third := startResident(t, "--unjoined", "1ms")
	if status := third.ends(testkit.Patience); status != 0 {
		t.Errorf("exit status %d: %s", status, third.log)
	}
}

func TestResidentObeysThePolicyForSteals(t *testing.T) {
	for policy, want := range map[string]string{
		"deny":          "steal port 80: the annotation podstep.dev/steal: deny of the target's namespace, workload or pod allows none",
		"filtered-only": "steal port 80: the annotation podstep.dev/steal: filtered-only of the target's namespace, workload or pod allows only steals with a filter, and this one has none",
	} {
		t.Run(policy, func(t *testing.T) {
			a := startResident(t, "--steal", policy).join("alice", "a1")
			if refusal := a.refusedTo(t, wire.ModeSteal, 80); refusal.Reason != wire.ReasonDenied || refusal.Errno != syscall.EPERM || refusal.Text != want {
				t.Errorf("told %+v", refusal)
			}
			if _, err := a.client.Subscribe(t.Context(), wire.SubscribeParams{Port: 80, Mode: wire.ModeMirror}); err != nil {
				t.Errorf("mirror: %v", err)
			}
		})
	}
}

func TestLinkWithoutASessionOnlyAsks(t *testing.T) {
	r := startResident(t)
	asks := r.join("nobody", "")
	if d, err := asks.client.Describe(t.Context(), wire.DescribeParams{Environment: true}); err != nil || d.Hostname != "web-0" || len(d.Environment) != 0 {
		t.Errorf("told %q, %d variables, %v", d.Hostname, len(d.Environment), err)
	}
	if refusal := asks.refusedTo(t, wire.ModeMirror, 80); refusal.Errno != syscall.EPERM || !strings.Contains(refusal.Text, "names no session") {
		t.Errorf("told %+v", refusal)
	}
	if list := r.sessions(); len(list) != 0 {
		t.Errorf("listed: %+v", list)
	}
	r.join("alice", "a1").leave(t, 0)
	if status := r.ends(10 * time.Second); status != 0 || !strings.Contains(r.log.String(), "the last session is over") {
		t.Errorf("exit status %d", status)
	}
}
