//go:build linux

package session

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/testkit/pod"
	"podstep.dev/internal/testkit/visit"
)

// stage is a pod with a shop and a client that asks it all the time, or with another service and no client.
type stage struct {
	*desk.Desk
	t      *testing.T
	ctx    context.Context // bounds every wait of the test
	pod    *pod.Pod
	client *visit.Book
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := newStageOf(t, "shop", "SHOP_COLOUR=orange")
	if _, err := s.pod.Exec(pod.Command{Args: []string{filepath.Join(kit, "stock")}}); err != nil {
		t.Fatal(err)
	}
	s.client = startClient(t, s.pod, "client")
	s.await("the target answers", time.Time{}, visit.By("target"))
	return s
}

// newStageOf is a pod with another service of the kit, without a client.
func newStageOf(t *testing.T, service string, env ...string) *stage {
	t.Helper()
	p, err := pod.Start(pod.Options{
		Command:   []string{filepath.Join(kit, service)},
		Env:       append(env, "ANSWERED_BY=target"),
		Hostname:  "shop-7d9f",
		Addresses: []netip.Addr{netip.MustParseAddr(podAddress), netip.MustParseAddr(clientAddress), netip.MustParseAddr("fd00:42::7")},
		Names:     map[string]netip.Addr{"stock": netip.MustParseAddr(podAddress)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*testkit.Patience)
	t.Cleanup(cancel)
	return &stage{Desk: desk.New(ctx, t, kit), t: t, ctx: ctx, pod: p}
}

// await waits for a request of the client that began after since.
func (s *stage) await(what string, since time.Time, want func(visit.Request) bool) (r visit.Request) {
	s.t.Helper()
	testkit.Eventually(s.t, what, func() (ok bool) {
		r, ok = s.client.First(since, want)
		return ok
	})
	return r
}

// until waits until holds returns true.
func (s *stage) until(what string, holds func() bool) {
	s.t.Helper()
	testkit.Eventually(s.t, what, holds)
}

// target is the stage's in a launch configuration.
func (s *stage) target() string { return "process/" + strconv.Itoa(s.pod.PID()) }

// steal is the mirror block of most tests: port 80 of the target to port 8080 of the debuggee.
func (s *stage) steal() map[string]any {
	return map[string]any{"target": s.target(), "incoming": map[string]any{"mode": "steal", "ports": map[string]int{"80": 8080}}}
}

// cleared fails the test when a process, a rule or a file of the session is left within a second of patience.
func (s *stage) cleared() {
	s.t.Helper()
	testkit.Eventually(s.t, "no process of the session is left: "+s.leftover(), func() bool { return s.leftover() == "" })
	if tables := s.tables(); tables != "" {
		s.t.Errorf("rules left in the pod: %s", tables)
	}
	testkit.Eventually(s.t, "no file of the session is left", func() bool { return len(s.Files()) == 0 })
}

// leftover names the session's processes on the workstation, and agents of the pod.
func (s *stage) leftover() string {
	left := s.Leftover()
	for pid := range desk.Processes() {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if desk.Comm(pid) == "podstep-agent" && bytes.Contains(cmdline, []byte("\x00"+strconv.Itoa(s.pod.PID())+"\x00")) {
			left += "; " + desk.CommandLine(pid)
		}
	}
	return left
}

// tables lists the nftables tables in the pod.
func (s *stage) tables() string {
	s.t.Helper()
	var out bytes.Buffer
	proc, err := s.pod.Exec(pod.Command{Args: []string{filepath.Join(kit, "self")}, Env: []string{roleVar + "=tables"}, Stdout: &out, Stderr: &out})
	if err != nil {
		s.t.Fatal(err)
	}
	if status := proc.Wait(); status.ExitStatus() != 0 {
		s.t.Fatalf("list tables: %s", out.String())
	}
	return strings.TrimSpace(out.String())
}

// printTables is the role "tables".
func printTables() {
	conn, err := nftables.New()
	if err == nil {
		var tables []*nftables.Table
		tables, err = conn.ListTables()
		for _, table := range tables {
			fmt.Println(table.Name)
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}
