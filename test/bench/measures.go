//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"podstep.dev/test/bench/role"
	"podstep.dev/test/bench/table"
)

// decode reads what a role printed.
func decode(printed string, err error) ([][]time.Duration, error) {
	if err != nil {
		return nil, err
	}
	var took [][]time.Duration
	if err := json.Unmarshal([]byte(printed), &took); err != nil {
		return nil, fmt.Errorf("%w in %q", err, printed)
	}
	return took, nil
}

// requests asks the stolen and the direct port in turn.
func (b *bench) requests(ctx context.Context) error {
	for _, c := range []struct{ keep, what, aim string }{
		{"kept", "request on a kept connection", "+0.3 ms at p50"},
		{"new", "request on a new connection", "+0.6 ms at p50"},
	} {
		var took [][]time.Duration
		_, err := b.with(ctx, fmt.Sprintf("serve %d", localPort), 0, func() (err error) {
			took, err = decode(b.inPod(fmt.Sprintf("ask %d %s %s - %s %s", b.n, c.keep, clientAddress, direct, stolen)))
			return err
		})
		if err != nil {
			return err
		}
		table.Latencies(c.what, took[0], took[1], c.aim)
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
		var took [][]time.Duration
		_, err := b.with(ctx, fmt.Sprintf("serve %d", localPort), c.oneWay, func() (err error) {
			took, err = decode(b.inPod(fmt.Sprintf("ask 3 kept %s %d %s %s", clientAddress, size, direct, stolen)))
			return err
		})
		if err != nil {
			return err
		}
		rate := func(d []time.Duration) float64 { return float64(size) / 1e6 / table.Quantile(d, 50).Seconds() }
		what := "one large body, stolen"
		if c.oneWay > 0 {
			what += fmt.Sprintf(", the link %v longer each way", c.oneWay)
		}
		table.Rates(what, rate(took[0]), rate(took[1]), c.aim)
	}
	return nil
}

// connects connects to the pod's service, in the pod and from the debuggee.
func (b *bench) connects(ctx context.Context) error {
	role := fmt.Sprintf("dial %d %s", b.n/4, direct)
	native, err := decode(b.inPod(role))
	if err != nil {
		return err
	}
	ours, err := decode(b.with(ctx, role, 0, nil))
	if err != nil {
		return err
	}
	table.Latencies("connect to a service of the pod", native[0], ours[0], "+0.4 ms at p50")
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
		table.Median(fmt.Sprintf("continued call, %d thread(s)", threads), native[0], ours[0], aim)
	}
	return nil
}

// starts measures the real program: from its start to the first request that the debuggee answers.
func (b *bench) starts(ctx context.Context) error {
	var took []time.Duration
	for range 5 {
		cmd := exec.CommandContext(ctx, filepath.Join(b.bin, "podstep"), "run", "--target", fmt.Sprintf("process/%d", b.pod.PID()),
			"--steal", fmt.Sprintf("%d:%d", stolenPort, localPort), "--env", fmt.Sprintf("%s=serve %d", roleVar, localPort), "--env", role.Debuggee+"=1", "--", b.self)
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
	table.Start("podstep run to the first stolen request, warm", took, "under 300 ms")
	return nil
}

// awaitDebuggee asks the stolen port until the debuggee answers.
func (b *bench) awaitDebuggee() error {
	_, err := b.inPod("await " + stolen)
	return err
}
