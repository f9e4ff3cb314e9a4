//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

func decode(printed string, err error) ([]quantiles, error) {
	if err != nil {
		return nil, err
	}
	var q []quantiles
	if err := json.Unmarshal([]byte(printed), &q); err != nil {
		return nil, fmt.Errorf("%w in %q", err, printed)
	}
	return q, nil
}

// requests asks the stolen and the direct port in turn.
func (b *bench) requests(ctx context.Context) error {
	for _, c := range []struct{ keep, what, aim string }{
		{"kept", "request on a kept connection", "+0.3 ms at p50"},
		{"new", "request on a new connection", "+0.6 ms at p50"},
	} {
		var q []quantiles
		_, err := b.with(ctx, fmt.Sprintf("serve %d", localPort), 0, func() (err error) {
			q, err = decode(b.inPod(fmt.Sprintf("ask %d %s - %d %d", b.n, c.keep, directPort, stolenPort)))
			return err
		})
		if err != nil {
			return err
		}
		latency(c.what+", p50", q[0].P50, q[1].P50, c.aim)
		latency(c.what+", p99", q[0].P99, q[1].P99, "")
	}
	return nil
}

// bulk asks for one large body on one connection, near and far away.
func (b *bench) bulk(ctx context.Context) error {
	for _, c := range []struct {
		oneWay time.Duration
		size   int
		aim    string
	}{{0, 512 << 20, "over 300 MB/s"}, {10 * time.Millisecond, 128 << 20, "over 40 MB/s"}, {20 * time.Millisecond, 128 << 20, "–"}} {
		size := c.size
		if b.n < 1000 {
			size /= 4
		}
		var q []quantiles
		_, err := b.with(ctx, fmt.Sprintf("serve %d", localPort), c.oneWay, func() (err error) {
			q, err = decode(b.inPod(fmt.Sprintf("ask 3 kept %d %d %d", size, directPort, stolenPort)))
			return err
		})
		if err != nil {
			return err
		}
		rate := func(d time.Duration) float64 { return float64(size) / 1e6 / d.Seconds() }
		what := "one large body, stolen"
		if c.oneWay > 0 {
			what += fmt.Sprintf(", the link %v longer each way", c.oneWay)
		}
		row(what, fmt.Sprintf("%.0f MB/s", rate(q[0].P50)), fmt.Sprintf("%.0f MB/s", rate(q[1].P50)), fmt.Sprintf("%.2fx", rate(q[1].P50)/rate(q[0].P50)), c.aim)
	}
	return nil
}

// connects connects to the pod's service, in the pod and from the debuggee.
func (b *bench) connects(ctx context.Context) error {
	role := fmt.Sprintf("dial %d", b.n/4)
	native, err := decode(b.inPod(role))
	if err != nil {
		return err
	}
	ours, err := decode(b.with(ctx, role, 0, nil))
	if err != nil {
		return err
	}
	latency("connect to a service of the pod, p50", native[0].P50, ours[0].P50, "+0.4 ms at p50")
	latency("connect to a service of the pod, p99", native[0].P99, ours[0].P99, "")
	return nil
}

// continued makes calls that the interception looks at and leaves to the kernel.
func (b *bench) continued(ctx context.Context) error {
	for threads, aim := range []string{1: "10 µs", 2: "20 µs"} {
		if threads == 0 {
			continue
		}
		role := fmt.Sprintf("names %d %d", b.n*5, threads)
		native, err := decode(b.inPod(role))
		if err != nil {
			return err
		}
		ours, err := decode(b.with(ctx, role, 0, nil))
		if err != nil {
			return err
		}
		latency(fmt.Sprintf("continued call, %d thread(s)", threads), native[0].P50, ours[0].P50, aim)
	}
	return nil
}

// starts measures the real program: from its start to the first request that the debuggee answers.
func (b *bench) starts(ctx context.Context) error {
	var took []time.Duration
	for range 5 {
		cmd := exec.CommandContext(ctx, filepath.Join(b.bin, "podstep"), "run", "--target", fmt.Sprintf("process/%d", b.pod.PID()),
			"--steal", fmt.Sprintf("%d:%d", stolenPort, localPort), "--env", fmt.Sprintf("%s=serve %d", roleVar, localPort), "--env", "BENCH=1", "--", b.self)
		began := time.Now()
		if err := cmd.Start(); err != nil {
			return err
		}
		if err := b.awaitDebuggee(); err != nil {
			return err
		}
		took = append(took, time.Since(began))
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			return err
		}
		_ = cmd.Wait() // ended by the signal
	}
	slices.Sort(took)
	row("podstep run to the first stolen request, warm", "–", show(took[len(took)/2]), fmt.Sprintf("%s to %s", show(took[0]), show(took[len(took)-1])), "under 300 ms")
	return nil
}

// awaitDebuggee asks the stolen port until the debuggee answers.
func (b *bench) awaitDebuggee() error {
	_, err := b.inPod(fmt.Sprintf("await %d", stolenPort))
	return err
}
