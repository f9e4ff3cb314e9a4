//go:build linux

package main

import (
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// goes expects the resident to end with status 0 and last words, after at least one and at most the other time from began.
func (r *residentProcess) goes(words string, began time.Time, least, most time.Duration) {
	r.t.Helper()
	status := r.ends(testkit.Patience)
	took := time.Since(began)
	lines := strings.Split(strings.TrimSpace(r.log.String()), "\n")
	if last := lines[len(lines)-1]; status != 0 || last != "podstep-agent: "+words {
		r.t.Errorf("exit status %d, last words %q", status, last)
	}
	if took < least || took > most {
		r.t.Errorf("gone after %s, want %s to %s", took, least, most)
	}
	r.t.Logf("gone after %s: %s", took.Round(time.Millisecond), words)
	if left := tables(r.t); left != "" {
		r.t.Errorf("left: %s", left)
	}
	if err := exec.CommandContext(r.t.Context(), "ls", r.socket).Run(); err == nil {
		r.t.Error("the socket is left")
	}
}

func TestResidentGoesWhenNobodyJoins(t *testing.T) {
	began := time.Now()
	startResident(t, "--unjoined", "700ms").goes("no session joined", began, 700*time.Millisecond, 10*time.Second)
}

func TestResidentGoesAtOnceWhenTheLastSessionLeaves(t *testing.T) {
	r := startResident(t)
	alice, bob := r.join("alice", "a1"), r.join("bob", "b1")
	alice.steal(t, 80)
	alice.leave(t, 0)
	if who := r.sessions(); len(who) != 1 {
		t.Fatalf("%d sessions", len(who))
	}
	began := time.Now()
	bob.leave(t, 0)
	r.goes("the last session is over", began, 0, 10*time.Second)
}

func TestResidentLingersAsAskedAndServesAgain(t *testing.T) {
	r := startResident(t)
	alice := r.join("alice", "a1")
	alice.steal(t, 80)
	began := time.Now()
	alice.leave(t, 6)
	// The longest time that anybody asked for counts, whatever the next one says.
	bob := r.join("bob", "b1")
	bob.steal(t, 80)
	bob.leave(t, 0)
	r.goes("the last session is over", began, 6*time.Second, 20*time.Second)
}

func TestResidentWaitsForALostSession(t *testing.T) {
	r := startResident(t, "--unjoined", "5s")
	alice := r.join("alice", "a1")
	alice.steal(t, 80)
	if err := alice.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-alice.waited
	back := r.join("alice", "a1")
	back.steal(t, 80)
	began := time.Now()
	_ = back.link.Close()
	r.goes("the last link was lost and no session came back", began, 5*time.Second, 20*time.Second)
}

func TestResidentEndsItsSessionsWithItsLifetime(t *testing.T) {
	began := time.Now()
	r := startResident(t, "--lifetime", "5s")
	a := r.join("alice", "a1")
	sub := a.steal(t, 80)
	<-a.waited
	if a.err == nil || !strings.Contains(a.log.String(), "the agent's lifetime is over") {
		t.Errorf("join: %v: %s", a.err, a.log)
	}
	<-a.link.Done()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.ended) != 1 || a.ended[0].ID != sub.ID || a.ended[0].Refusal.Text != "the agent's lifetime is over" {
		t.Errorf("told %+v", a.ended)
	}
	r.goes("the agent's lifetime is over", began, 5*time.Second, 20*time.Second)
}

func TestResidentEndsOnSIGTERM(t *testing.T) {
	r := startResident(t)
	a := r.join("alice", "a1")
	a.steal(t, 80)
	began := time.Now()
	if err := r.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-a.waited
	r.goes("terminated signal received", began, 0, 10*time.Second)
}

func TestJoinWaitsForItsResidentAndThenSaysSo(t *testing.T) {
	cmd := testpod.Helper(t, "agent", "join", "--socket", t.TempDir()+"/sock")
	began := time.Now()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "no resident agent is here") {
		t.Errorf("%v: %s", err, out)
	}
	if d := time.Since(began); d < 5*time.Second {
		t.Errorf("after %s only", d)
	}
}

func TestResidentEndsWithItsTargetsProcess(t *testing.T) {
	container := strings.Repeat("0123456789abcdef", 4)
	target := inContainer(t, container)
	r := startResident(t, "--container", "containerd://"+container)
	a := r.join("alice", "a1")
	sub := a.steal(t, 80)
	d, err := a.client.Describe(t.Context(), wire.DescribeParams{Environment: true})
	if err != nil || !strings.Contains(strings.Join(d.Environment, "\n"), "PODSTEP_TEST_VALUE=from the container") {
		t.Errorf("%d variables, %v", len(d.Environment), err)
	}
	began := time.Now()
	if err := target.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-a.waited
	a.mu.Lock()
	if len(a.ended) != 1 || a.ended[0].ID != sub.ID || a.ended[0].Refusal.Errno != syscall.ESRCH {
		t.Errorf("told %+v", a.ended)
	}
	a.mu.Unlock()
	r.goes("the target's process ended", began, 0, 10*time.Second)
}
