//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"podstep.dev/internal/fault"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/dapclient"
	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/testkit/visit"
)

// TestTwoPeopleShareAPod : two people steal different ports of one pod through one agent, others can see that, and what
// becomes of one session is nothing to the other.
func TestTwoPeopleShareAPod(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	pod := s.deploy(shop{change: withSidecar})[0]
	s.service("shop", "shop")
	c := s.customer("http://shop")
	bob := s.colleague("bob")
	alices := s.launched(s.mirror("deployment/shop"))
	s.await(c, "alice's debuggee answers", time.Now(), visit.By("debuggee"))
	bobs := bob.Command("run", "--target", "pod/"+pod.Name, "--steal", fmt.Sprintf("8081:%d", bob.port), "--linger", "0", "--", s.visitor(), "serve", fmt.Sprint(bob.port), "bob")
	var words testkit.Output
	bobs.Stdout, bobs.Stderr = &words, &words
	if err := bobs.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- bobs.Wait() }()
	t.Cleanup(func() {
		_ = bobs.Process.Kill()
		if t.Failed() {
			t.Logf("bob's podstep said:\n%s", words.String())
		}
	})
	side := fmt.Sprintf("http://%s:8081/", pod.Status.PodIP)
	sidecar := func() string {
		out, err := s.exec(s.ctx, s.ns, c.pod.Name, "", "/visitor", "get", side)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	s.eventually("bob answers on port 8081", func() bool { return sidecar() == "bob" })
	s.await(c, "alice's debuggee answers on", time.Now(), visit.By("debuggee"))
	if now := agents(s.fresh(&pod)); len(now) != 1 {
		t.Errorf("the agents %v are in the pod, want one for both", now)
	}
	listed := s.borrowers("deployment/shop")
	for _, want := range []string{"alice@", "bob@", "steals 80 ", "steals 8081 "} {
		if !strings.Contains(listed, want) {
			t.Errorf("podstep targets does not say %q: %s", want, listed)
		}
	}

	killed := time.Now()
	desk.Kill(t, alices.Cmd.Process.Pid, syscall.SIGKILL)
	r := s.await(c, "the target answers on port 80", killed, visit.By("target"))
	t.Logf("alice killed: the target served again after %v", r.Ended().Sub(killed).Round(time.Millisecond))
	for range 5 {
		if who := sidecar(); who != "bob" {
			t.Errorf("after alice was killed %q answers on port 8081", who)
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("bob's session ended with alice's: %v", err)
	default:
	}
	if err := bobs.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ended
	s.eventually("the sidecar answers again", func() bool { return sidecar() == "sidecar" })
	bob.cleared()
	s.cleared()
}

// borrowers are the words of podstep targets on who borrows a target: its line, and the lines below it that name further ones.
func (s *stage) borrowers(target string) string {
	s.t.Helper()
	var out, errs bytes.Buffer
	cmd := s.Command("targets")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("podstep targets: %v\n%s", err, errs.String())
	}
	var words string
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, target+" ") || words != "" && strings.HasPrefix(line, " ") {
			words += line
		} else if words != "" {
			break
		}
	}
	if words == "" {
		s.t.Fatalf("podstep targets lists no %s:\n%s", target, out.String())
	}
	return words
}

// TestTakenPortIsRefusedWithItsHolder : who wants a port that somebody else has stolen is told whose it is, since when, and
// whether that one stands at a breakpoint.
func TestTakenPortIsRefusedWithItsHolder(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deploy(shop{})
	s.service("shop", "shop")
	c := s.customer("http://shop")
	bob := s.colleague("bob")
	file := filepath.Join(root(), "test/debuggees/go/shop/main.go")
	d := s.launched(s.mirror("deployment/shop"))
	s.await(c, "alice's debuggee answers", time.Now(), visit.By("debuggee"))
	if text := bob.refused(); !strings.Contains(text, "alice@") || !strings.Contains(text, "since") || !strings.Contains(text, "not paused") {
		t.Errorf("bob is told %q", text)
	}
	line := desk.LineOf(t, file, "<- the demo's breakpoint")
	if _, err := d.Request(s.ctx, "setBreakpoints", map[string]any{"source": map[string]any{"path": file}, "breakpoints": []any{map[string]int{"line": line}}}); err != nil {
		t.Fatal(err)
	}
	stop, err := d.Stopped(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if text := bob.refused(); !strings.Contains(text, "alice@") || !strings.Contains(text, "paused") || strings.Contains(text, "not paused") {
		t.Errorf("bob is told %q, while alice's debugger is stopped", text)
	}
	if text := s.borrowers("deployment/shop"); !strings.Contains(text, "paused") {
		t.Errorf("podstep targets does not say that alice's debugger is stopped: %s", text)
	}
	if err := errors.Join(d.ClearBreakpoints(s.ctx, file), d.Resume(s.ctx, stop.ThreadID)); err != nil {
		t.Fatal(err)
	}
	s.await(c, "alice's debuggee answers on", time.Now(), visit.By("debuggee"))
	over := time.Now()
	s.disconnect(d)
	bob.cleared()
	s.cleared()
	s.served(c, over)
}

// refused presses F5 for a port that is taken, and returns what the person is told. Keys are the block's.
func (s *stage) refused(keys ...map[string]any) string {
	s.t.Helper()
	d := s.Start("go")
	err := d.Launch(s.ctx, s.dlv(s.mirror("deployment/shop", keys...)), nil)
	var failure *dapclient.Failure
	if !errors.As(err, &failure) {
		s.t.Fatalf("launch: %v, want a failure", err)
	}
	if failure.ID != int(fault.PortTaken) {
		s.t.Errorf("failure %d %q, want %d", failure.ID, failure.Format, fault.PortTaken)
	}
	s.disconnect(d)
	return failure.Format
}

// TestTargetsListsAsJSON : what the extension reads.
func TestTargetsListsAsJSON(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deploy(shop{replicas: 2, change: withSidecar})
	s.service("shop", "shop")
	began := time.Now()
	out, err := s.Command("targets", "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("podstep targets took %v", time.Since(began).Round(time.Millisecond))
	var list struct {
		Targets []struct {
			Namespace, Target, Status string
			Ready, Pods               int
			Containers                []string
			Ports                     []int
		}
	}
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	for _, listed := range list.Targets {
		if listed.Target == "deployment/shop" {
			if listed.Ready != 2 || listed.Pods != 2 || listed.Namespace != s.ns || strings.Join(listed.Containers, " ") != "shop sidecar" || fmt.Sprint(listed.Ports) != "[80 8081]" {
				t.Errorf("the shop is listed as %+v", listed)
			}
			return
		}
	}
	t.Errorf("the shop is not listed: %s", out)
}
