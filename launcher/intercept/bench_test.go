//go:build linux

package intercept_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"podstep.dev/launcher/intercept"
)

// BenchmarkCall makes calls natively and behind the filter, side by side in one run. "us/call" is the debuggee's own clock.
//
//	go test -run '^$' -bench Call ./launcher/intercept
func BenchmarkCall(b *testing.B) {
	calls := program(b, "calls")
	l := newLab(b)
	server := sink(b, calls)
	l.pod.route("10.96.7.7:1", route{target: server})
	b.Setenv("INTERCEPT_TEST_GETPPID", "1")
	for _, c := range []struct {
		name, call, to string
		count          int
	}{
		{"getppid continued", "getppid", server, 500},
		{"getsockname continued", "getsockname", server, 500},
		{"connect continued", "connect", server, 50},
		{"connect by the pod", "connect", "10.96.7.7:1", 50},
	} {
		b.Run(c.name+"/native", func(b *testing.B) { // natively the pod's server is the one on loopback
			cmd := exec.Command(calls, server)
			in, out := pipes(b, cmd)
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				_ = in.Close()
				_ = cmd.Wait()
			})
			measure(b, in, out, c.call, c.count)
		})
		b.Run(c.name+"/ours", func(b *testing.B) {
			out, theirs, err := os.Pipe()
			if err != nil {
				b.Fatal(err)
			}
			d := l.startTo(b, theirs, intercept.All, calls, c.to)
			_ = theirs.Close()
			b.Cleanup(func() { _ = out.Close() })
			measure(b, d.in, bufio.NewScanner(out), c.call, c.count)
		})
	}
}

func pipes(b *testing.B, cmd *exec.Cmd) (io.WriteCloser, *bufio.Scanner) {
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	return in, bufio.NewScanner(out)
}

func measure(b *testing.B, in io.Writer, out *bufio.Scanner, call string, count int) {
	var spent, rounds float64
	for b.Loop() {
		if _, err := fmt.Fprintln(in, call, count); err != nil {
			b.Fatal(err)
		}
		var ns float64
		if !out.Scan() {
			b.Fatal("the program ended")
		}
		if _, err := fmt.Sscan(strings.TrimSpace(out.Text()), &ns); err != nil {
			b.Fatal(err)
		}
		spent, rounds = spent+ns, rounds+1
	}
	b.ReportMetric(spent/rounds/float64(count)/1000, "us/call")
}

// sink is a server in a process of its own, so that it does not share a scheduler with the supervisor.
func sink(b *testing.B, calls string) string {
	cmd := exec.Command(calls, "serve")
	in, out := pipes(b, cmd)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	if !out.Scan() {
		b.Fatal("the server did not start")
	}
	return out.Text()
}
