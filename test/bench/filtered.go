//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"podstep.dev/adapter/borrow"
	"podstep.dev/adapter/config"
	"podstep.dev/test/bench/role"
	"podstep.dev/test/bench/table"
)

const (
	// turns is how often each way is measured, one after the other, so that whatever else the machine does hits all alike.
	turns = 8
	// tick is the unit of a process's times in proc_pid_stat(5), which is 1/sysconf(_SC_CLK_TCK) s, 100 on every Linux that Go runs on.
	tick = 10 * time.Millisecond
)

// way is one by which requests are answered.
type way struct {
	what, at string
	// user is in the requests' header, "-" for none.
	user string
	// aims of the median and of the throughput.
	aim, rate string

	took  []time.Duration
	bytes int
	all   time.Duration
	cpu   time.Duration // of the agent
	rss   int           // of the agent at most, in KiB
}

// shape is what is asked for in one row.
type shape struct {
	connections, size, rounds int
	// h2 has streams of one connection of HTTP/2 for connections.
	h2 bool
}

func (s shape) String() string {
	size := "1 KiB"
	if s.size > 1<<10 {
		size = fmt.Sprintf("%d MiB", s.size>>20)
	}
	switch {
	case s.h2 && s.connections == 1:
		return size + " over HTTP/2"
	case s.h2:
		return fmt.Sprintf("%s on %d streams of HTTP/2", size, s.connections)
	case s.connections == 1:
		return size + " on a kept connection"
	}
	return fmt.Sprintf("%s on %d kept connections", size, s.connections)
}

// filtered measures what becomes of the target's own requests on a port that is stolen, and of those that a filter steals.
func (b *bench) filtered(ctx context.Context) error {
	for _, s := range []shape{{1, 1 << 10, b.n, false}, {64, 1 << 10, 4 * b.n, false}, {1, 10 << 20, b.n / 50, false}, {16, 10 << 20, b.n / 25, false}} {
		ways := func(more ...*way) []*way { return append([]*way{{at: direct, user: "-"}}, more...) }
		const pass, rate = "+60 µs at p50", "over 0.5x per core"
		alice := func(m *config.Mirror) (err error) {
			m.Incoming.Filter, err = config.ParseFilter(fmt.Sprintf(`{"header": {%q: "alice"}}`, role.User))
			return err
		}
		matched := ways(
			&way{what: "a program between that only copies", at: hop, user: "-"},
			&way{what: "not matched by the filter", at: stolen, user: "bob", aim: pass, rate: rate},
			&way{what: "stolen by a filter", at: stolen, user: "alice", aim: "+0.3 ms at p50"},
		)
		if err := b.inWays(ctx, s, alice, false, matched); err != nil {
			return err
		}
		if err := b.inWays(ctx, s, nil, true, ways(&way{what: "no filter, debugger stopped", at: stolen, user: "-", aim: pass, rate: rate})); err != nil {
			return err
		}
	}
	return nil
}

// inWays measures each way in turn during a session, against the first.
func (b *bench) inWays(ctx context.Context, s shape, change func(*config.Mirror) error, paused bool, ways []*way) error {
	_, err := b.session(ctx, setup{role: fmt.Sprintf("serve %d", localPort), change: change}, func(borrowed *borrow.Borrow) error {
		borrowed.SetPaused(paused)
		agent, err := agentBelow(os.Getpid())
		if err != nil {
			return err
		}
		for range turns {
			for _, w := range ways {
				if err := b.once(agent, s, w); err != nil {
					return fmt.Errorf("%s, %s: %w", s, w.what, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	native := ways[0]
	for _, w := range ways[1:] {
		what := fmt.Sprintf("%s, %s", s, w.what)
		if s.size > 1<<10 {
			table.Rates(what, native.throughput(), w.throughput(), w.rate)
			if w.at == hop {
				continue
			}
			table.Row(what+", for a second of the agent's processor time", "–", fmt.Sprintf("%.0f MB", float64(w.bytes)/1e6/w.cpu.Seconds()), fmt.Sprintf("agent %.1f MB", float64(w.rss)*1024/1e6), "")
			continue
		}
		aim := w.aim
		if s.connections > 1 {
			aim = ""
		}
		table.Latencies(what, native.took, w.took, aim)
		if w.at == hop {
			continue
		}
		table.Row(what+", the agent's processor time for one", "–", table.Show(w.cpu/time.Duration(len(w.took))), fmt.Sprintf("agent %.1f MB", float64(w.rss)*1024/1e6), "")
	}
	return nil
}

func (w *way) throughput() float64 { return float64(w.bytes) / 1e6 / w.all.Seconds() }

// once measures one way for one turn.
func (b *bench) once(agent int, s shape, w *way) error {
	before, err := processorTime(agent)
	if err != nil {
		return err
	}
	at := w.at
	if s.h2 {
		at = role.H2 + at
	}
	printed, err := b.inPod(fmt.Sprintf("load %d %d %s %d %s %s", max(s.rounds/turns, s.connections), s.connections, clientAddress, s.size, at, w.user))
	if err != nil {
		return err
	}
	var loaded role.Loaded
	if err := json.Unmarshal([]byte(printed), &loaded); err != nil {
		return fmt.Errorf("%w in %q", err, printed)
	}
	after, err := processorTime(agent)
	if err != nil {
		return err
	}
	w.took = append(w.took, loaded.Took...)
	w.bytes, w.all, w.cpu = w.bytes+len(loaded.Took)*s.size, w.all+loaded.All, w.cpu+after-before
	w.rss = max(w.rss, resident(agent))
	return nil
}

// agentBelow is the process of an agent that a process has started.
func agentBelow(parent int) (pid int, err error) {
	comms, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return 0, err
	}
	for _, path := range comms {
		comm, _ := os.ReadFile(path)
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(path), "stat"))
		if err != nil || !strings.HasPrefix(string(comm), "podstep-agent") {
			continue // also: it is gone
		}
		if fields := statFields(stat); fields[1] == strconv.Itoa(parent) {
			return strconv.Atoi(filepath.Base(filepath.Dir(path)))
		}
	}
	return 0, errors.New("no agent runs")
}

// statFields are those of proc_pid_stat(5) from the third on: the second may have anything in it.
func statFields(stat []byte) []string {
	return strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
}

// processorTime is what a process took so far, in user mode and in the kernel.
func processorTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := statFields(stat)
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * tick, err
}

// resident is a process's memory in KiB.
func resident(pid int) int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	if fields := strings.Fields(after); len(fields) > 0 {
		kib, _ := strconv.Atoi(fields[0])
		return kib
	}
	return 0
}
