//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"podstep.dev/adapter/borrow"
	"podstep.dev/adapter/config"
	"podstep.dev/test/bench/role"
	"podstep.dev/test/bench/table"
)

// mirrored measures what a mirror costs the target, and how much of the copy is lost, at a steady rate: without a session and with one in turn.
func (b *bench) mirrored(ctx context.Context) error {
	seconds := max(1, b.n/1000)
	for _, rate := range []int{1000, 10_000} {
		var without, with []time.Duration
		var sent, copied int
		for range 3 {
			loaded, err := b.pace(rate, seconds)
			if err != nil {
				return err
			}
			without = append(without, loaded.Took...)
			mirror := func(m *config.Mirror) error { m.Incoming.Mode = config.ModeMirror; return nil }
			_, err = b.session(ctx, setup{role: fmt.Sprintf("serve %d", localPort), change: mirror}, func(*borrow.Borrow) error {
				loaded, err := b.pace(rate, seconds)
				if err != nil {
					return err
				}
				with, sent = append(with, loaded.Took...), sent+loaded.Sent
				n, err := settled(ctx)
				copied += n
				return err
			})
			if err != nil {
				return err
			}
		}
		what := fmt.Sprintf("%d requests/s of a mirrored port, 1 KiB", rate)
		table.Latencies(what, without, with, "the same")
		took := len(without) * 1e9 / int(3*int64(time.Second)*int64(seconds))
		table.Row(what+", copies that came", fmt.Sprintf("%d/s asked", took), fmt.Sprintf("%d of %d", copied, sent), fmt.Sprintf("%.2f %% lost", 100*float64(sent-copied)/float64(sent)), "counted")
	}
	return nil
}

// pace asks the port that a session takes, from a client beside the target.
func (b *bench) pace(rate, seconds int) (loaded role.Loaded, err error) {
	printed, err := b.inPod(fmt.Sprintf("pace %d %d 64 %s 1024 %s", rate, seconds, clientAddress, stolen))
	if err != nil {
		return loaded, err
	}
	return loaded, json.Unmarshal([]byte(printed), &loaded)
}

// settled is how many requests the debuggee had, when no more come.
func settled(ctx context.Context) (int, error) {
	for last := -1; ; {
		n, err := counted(ctx)
		if err != nil || n == last {
			return n, err
		}
		last = n
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func counted(ctx context.Context) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/count", localPort), nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(text))
}
