//go:build linux

// Command bench measures what podstep costs: native and through podstep side by side in one run, as a table of ratios in
// Markdown. Run it by "make bench"; docs/performance.md keeps a run. It is the adapter of its own sessions, so that a
// delaying relay can stand between adapter and agent.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"podstep.dev/internal/testkit/pod"
)

// roleVar makes the program play a part: in the pod, or as the debuggee.
const roleVar = "PODSTEP_BENCH_ROLE"

func main() {
	pod.Main()
	role, args, _ := strings.Cut(os.Getenv(roleVar), " ")
	if role != "" {
		play, ok := map[string]func([]string) error{"serve": serve, "ask": ask, "dial": dial, "names": names, "await": await, "up": up}[role]
		if !ok {
			fail(fmt.Errorf("no role %q", role))
		}
		if err := play(strings.Fields(args)); err != nil {
			fail(err)
		}
		return
	}
	quick := flag.Bool("quick", false, "a tenth of the rounds")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if err := run(ctx, *quick); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// bench is one run: a pod and what to measure there.
type bench struct {
	pod  *pod.Pod
	self string
	bin  string
	n    int // rounds of a latency
}

// The pod's addresses.
const (
	podAddress    = "10.42.0.7"
	clientAddress = "10.42.0.9"
	directPort    = 81 // served by the target alone
	stolenPort    = 80
	localPort     = 18080 // the debuggee's
)

func run(ctx context.Context, quick bool) error {
	b := &bench{n: 4000}
	if quick {
		b.n /= 10
	}
	var err error
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.bin, err = filepath.Abs("bin"); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(b.bin, "podstep-agent")); err != nil {
		return fmt.Errorf("%w: run make build first, and this from the project's root", err)
	}
	// The launcher and the agent are looked for beside the program, then on PATH.
	if err := os.Setenv("PATH", b.bin+":"+os.Getenv("PATH")); err != nil {
		return err
	}
	b.pod, err = pod.Start(pod.Options{
		Command:   []string{b.self},
		Env:       []string{fmt.Sprintf("%s=serve %d %d", roleVar, stolenPort, directPort)},
		Addresses: []netip.Addr{netip.MustParseAddr(podAddress), netip.MustParseAddr(clientAddress)},
		Output:    os.Stderr,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.pod.Close()) }()
	if _, err := b.inPod(fmt.Sprintf("up %d %d", stolenPort, directPort)); err != nil {
		return err
	}
	fmt.Printf("%s/%s, %d CPUs, Linux %s, %s\n\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), release(), runtime.Version())
	fmt.Println("| what | native | through podstep | difference | aim |")
	fmt.Println("|---|---|---|---|---|")
	for _, measure := range []func(context.Context) error{b.link, b.requests, b.bulk, b.connects, b.continued, b.starts} {
		if err := measure(ctx); err != nil {
			return err
		}
	}
	return nil
}

// row prints one line of the table.
func row(what, native, ours, difference, aim string) {
	fmt.Printf("| %s | %s | %s | %s | %s |\n", what, native, ours, difference, cmp.Or(aim, "–"))
}

// latency prints two latencies, their difference and their ratio.
func latency(what string, native, ours time.Duration, aim string) {
	row(what, show(native), show(ours), fmt.Sprintf("%s (%.1fx)", signed(ours-native), float64(ours)/float64(native)), aim)
}

func show(d time.Duration) string {
	switch {
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%.2f µs", float64(d)/1e3)
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", float64(d)/1e3)
	}
	return fmt.Sprintf("%.2f ms", float64(d)/1e6)
}

// signed shows a difference, which may be negative on a busy machine.
func signed(d time.Duration) string {
	if d < 0 {
		return "-" + show(-d)
	}
	return "+" + show(d)
}

func release() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}
