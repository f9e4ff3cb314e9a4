//go:build linux

// Command bench measures what podstep costs: native and through podstep side by side in one run, as a table of ratios in
// Markdown. Run it by "make bench"; docs/performance.md keeps a run. It is the adapter of its own sessions, so that a
// delaying relay can stand between adapter and agent.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"podstep.dev/internal/testkit/pod"
	"podstep.dev/test/bench/role"
	"podstep.dev/test/bench/table"
)

// roleVar makes the program play a part: in the pod, or as the debuggee.
const roleVar = "PODSTEP_BENCH_ROLE"

func main() {
	pod.Main()
	if words := strings.Fields(os.Getenv(roleVar)); len(words) > 0 {
		if err := role.Play(words); err != nil {
			fail(err)
		}
		return
	}
	quick := flag.Bool("quick", false, "a tenth of the rounds")
	only := flag.String("only", "", "the one `measure` to make: link, requests, filtered, http2, mirror, tls, bulk, connects, continued or starts (default: all)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if err := run(ctx, *quick, *only); err != nil {
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
	// certificates is where those are of ports that speak TLS.
	certificates string
	n            int // rounds of a latency
}

// The pod's addresses.
const (
	podAddress    = "10.42.0.7"
	clientAddress = "10.42.0.9"
	directPort    = 81 // served by the target alone
	hopPort       = 82 // passes on to directPort
	stolenPort    = 80
	localPort     = 18080 // the debuggee's
)

var (
	direct = fmt.Sprintf("%s:%d", podAddress, directPort)
	stolen = fmt.Sprintf("%s:%d", podAddress, stolenPort)
	hop    = fmt.Sprintf("%s:%d", podAddress, hopPort)
)

func run(ctx context.Context, quick bool, only string) error {
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
	certificates, err := os.MkdirTemp("", "podstep-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(certificates)) }()
	if err := issue(certificates); err != nil {
		return err
	}
	b.certificates = certificates
	b.pod, err = pod.Start(pod.Options{
		Command:   []string{b.self},
		Env:       []string{fmt.Sprintf("%s=serve %d %d %d>%[3]d s%[5]d s%[6]d", roleVar, stolenPort, directPort, hopPort, secureStolenPort, secureDirectPort), role.Certificates + "=" + certificates},
		Addresses: []netip.Addr{netip.MustParseAddr(podAddress), netip.MustParseAddr(clientAddress)},
		Output:    os.Stderr,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.pod.Close()) }()
	if _, err := b.inPod("up " + direct + " " + stolen + " " + hop); err != nil {
		return err
	}
	table.Begin()
	measures := []struct {
		name string
		make func(context.Context) error
	}{
		{"link", b.link}, {"requests", b.requests}, {"filtered", b.filtered}, {"http2", b.http2}, {"mirror", b.mirrored}, {"tls", b.secured}, {"bulk", b.bulk}, {"connects", b.connects}, {"continued", b.continued}, {"starts", b.starts},
	}
	for _, m := range measures {
		if only != "" && m.name != only {
			continue
		}
		if err := m.make(ctx); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}
