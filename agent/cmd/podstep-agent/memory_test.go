//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

const (
	mostIdle = 20 << 20
	// mostSize is of the program, which is nearly all of the image: compressed there, to less than half. TLS is 1.7 MB of it.
	mostSize = 12_000_000
)

// released builds the program as it is released.
func released(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "podstep-agent")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// rss is the memory in bytes that a process has now: all of it, and what is not of files.
func rss(t *testing.T, pid int) (all, own int) {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	field := func(name string) int {
		_, rest, _ := strings.Cut(string(text), "\n"+name+":")
		line, _, _ := strings.Cut(rest, " kB")
		n, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		return n << 10
	}
	return field("VmRSS"), field("RssAnon")
}

// mebibytes are for people.
func mebibytes(n int) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// outside runs the released program instead of the test's own.
func outside(cmd *exec.Cmd, path string) *exec.Cmd {
	cmd.Path, cmd.Args[0] = path, path
	return cmd
}

func TestAgentIsSmall(t *testing.T) {
	if testpod.Ordinary() {
		t.Skip("needs root: the same program is measured once, where it can be built")
	}
	testpod.NewClient(t)
	python(t, nil)
	path := released(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("program: %d bytes", info.Size())
	if info.Size() > mostSize {
		t.Errorf("the program has %d bytes, at most %d", info.Size(), mostSize)
	}
	socket := shortDir(t) + "/sock"
	r := runResident(t, socket, outside(residentCommand(t, socket), path))
	r.says("resident")
	all, own := rss(t, r.Process.Pid)
	t.Logf("resident without a session: %s, of it %s of its own", mebibytes(all), mebibytes(own))
	r.program = path
	a := r.join("alice", "a1")
	a.steal(t, 80)
	if _, err := a.client.Subscribe(t.Context(), wire.SubscribeParams{Port: 80, Mode: wire.ModeMirror}); err != nil {
		t.Fatal(err)
	}
	all, own = rss(t, r.Process.Pid)
	t.Logf("resident with an idle session: %s, of it %s of its own", mebibytes(all), mebibytes(own))
	if all > mostIdle {
		t.Errorf("the resident takes %s, at most %s", mebibytes(all), mebibytes(mostIdle))
	}
	all, own = rss(t, a.Process.Pid)
	t.Logf("join: %s, of it %s of its own", mebibytes(all), mebibytes(own))
}

func TestJoinAddsNothingToTheRoundTrip(t *testing.T) {
	testpod.NewClient(t)
	target := python(t, nil)
	r := startResident(t)
	joined, direct := r.join("alice", "a1"), startAgent(t, target.Process.Pid, "bob")
	measure := func(a *agentProcess) time.Duration {
		var times []time.Duration
		for range 500 {
			began := time.Now()
			if err := a.client.Paused(t.Context(), wire.PausedParams{}); err != nil {
				t.Fatal(err)
			}
			times = append(times, time.Since(began))
		}
		slices.Sort(times)
		return times[len(times)/2]
	}
	// In turns, so that both meet the same machine.
	var with, without []time.Duration
	for range 5 {
		with, without = append(with, measure(joined)), append(without, measure(direct))
	}
	slices.Sort(with)
	slices.Sort(without)
	t.Logf("round trip of a call, p50: %s through join, %s to an agent on its own pipes", with[2], without[2])
	if with[0] > 2*without[2]+100*time.Microsecond {
		t.Errorf("join makes a round trip of %s take %s", without[2], with[0])
	}
}

func TestFloodOfSessionsStaysWithinTheCap(t *testing.T) {
	if testpod.Ordinary() {
		t.Skip("needs root: the same program is measured once, where it can be built")
	}
	client := testpod.NewClient(t)
	path := released(t)
	// A server that accepts and never reads, and one that answers.
	deaf := func(c net.Conn) { <-t.Context().Done(); _ = c.Close() }
	sink := listen(t, testpod.Pod4+":9000", deaf)
	for i := range 4 {
		// The target has what the agent does not take.
		listen(t, fmt.Sprintf("%s:%d", testpod.Pod4, 8000+i), deaf)
	}
	listen(t, testpod.Pod4+":9001", func(c net.Conn) { _, _ = io.Copy(c, c); _ = c.Close() })
	for limit, most := range map[int]int{64 << 20: 40 << 20, 0: 80 << 20} {
		t.Run("limit "+mebibytes(limit), func(t *testing.T) {
			socket := shortDir(t) + "/sock"
			r := runResident(t, socket, outside(residentCommand(t, socket, "--log", "warn", "--memory-limit", strconv.Itoa(limit)), path))
			r.program = path
			testkit.Eventually(t, "the door is there", func() bool { _, err := os.Stat(socket); return err == nil })
			before, _ := rss(t, r.Process.Pid)
			modest := r.join("modest", "m")
			var flood sync.WaitGroup
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			for i := range 4 {
				floodSession(ctx, t, r, client, i, sink, &flood)
			}
			peak, served := watchFlood(t, r, modest, 6*time.Second)
			stop()
			t.Logf("at rest %s, at most %s under the flood; the modest session made %d round trips meanwhile", mebibytes(before), mebibytes(peak), served)
			if peak > most {
				t.Errorf("%s, at most %s", mebibytes(peak), mebibytes(most))
			}
			if served == 0 {
				t.Error("the modest session was not served")
			}
			flood.Wait()
		})
	}
}

// floodSession is a session that sends more than anybody reads: connections of clients that the adapter takes and does
// not read, copies of them, and connections to a server that does not read.
func floodSession(ctx context.Context, t *testing.T, r *residentProcess, client *testpod.Client, i int, sink netip.AddrPort, flood *sync.WaitGroup) {
	t.Helper()
	a := r.join(fmt.Sprint("greedy ", i), fmt.Sprint("g", i))
	a.on(func(st *mux.Stream) {
		_ = st.Opened(wire.Answer{})
		<-ctx.Done()
		_ = st.Close()
	})
	port := uint16(8000 + i)
	a.steal(t, port)
	if i == 0 {
		if _, err := a.client.Subscribe(t.Context(), wire.SubscribeParams{Port: port, Mode: wire.ModeMirror}); err != nil {
			t.Fatal(err)
		}
	}
	chunk := make([]byte, 64<<10)
	pour := func(w io.WriteCloser) {
		flood.Go(func() {
			for {
				if _, err := w.Write(chunk); err != nil {
					_ = w.Close()
					return
				}
			}
		})
		flood.Go(func() { <-ctx.Done(); _ = w.Close() })
	}
	for range 60 {
		c, err := client.Dial(fmt.Sprintf("%s:%d", testpod.Pod4, port))
		if err != nil {
			t.Fatal(err)
		}
		pour(c)
	}
	for range 60 {
		// More than the agent's streams are refused.
		if st, err := a.link.Open(t.Context(), wire.Header{Kind: wire.KindDial, Address: sink}, nil); err == nil {
			pour(st)
		}
	}
}

// watchFlood returns the most memory that the resident takes during a time, and how many round trips another session makes.
func watchFlood(t *testing.T, r *residentProcess, modest *agentProcess, during time.Duration) (peak, served int) {
	t.Helper()
	end := time.Now().Add(during)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(end) {
		<-tick.C
		all, _ := rss(t, r.Process.Pid)
		peak = max(peak, all)
		if st, err := modest.link.Open(t.Context(), wire.Header{Kind: wire.KindDial, Address: netip.MustParseAddrPort(testpod.Pod4 + ":9001")}, []byte("hello")); err == nil {
			if n, err := io.ReadFull(st, make([]byte, 5)); err == nil && n == 5 {
				served++
			}
			_ = st.Close()
		}
	}
	return peak, served
}

// listen serves connections until the test ends.
func listen(t *testing.T, addr string, serve func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return netip.MustParseAddrPort(addr)
}
