//go:build linux

// Command cluster measures what podstep costs in a cluster: the bare link through the API server, podstep's link, and stolen
// requests side by side in one run, in turn, so that whatever else the machine does hits all alike. "make bench" runs it in a
// cluster of its own; in another one it needs $KUBECONFIG of a cluster-admin, and $PODSTEP_E2E_LOAD, a command that loads an
// OCI archive, its last argument, into every node. "make build image" makes what it measures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"podstep.dev/test/bench/table"
)

func main() {
	quick := flag.Bool("quick", false, "a fifth of the rounds")
	only := flag.String("only", "", "measure `links|starts|sizes` alone")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if err := run(ctx, *quick, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run: a stage and how much is measured there.
type bench struct {
	*stage
	chunks int   // of a latency, between which the others are measured
	rounds int   // in a chunk
	bulks  int   // of a throughput
	size   int64 // of one bulk, in bytes
	starts int
}

func run(ctx context.Context, quick bool, only string) (err error) {
	b := &bench{chunks: 10, rounds: 200, bulks: 5, size: 64 << 20, starts: 5}
	if quick {
		b.chunks, b.bulks, b.starts, b.size = 2, 2, 3, 16<<20
	}
	b.stage, err = setUp(ctx)
	if b.stage != nil {
		defer func() { err = errors.Join(err, b.close()) }()
	}
	if err != nil {
		return err
	}
	table.Begin()
	for _, m := range []struct {
		name    string
		measure func(context.Context) error
	}{{"links", b.links}, {"starts", b.startsOfAll}, {"sizes", b.sizes}} {
		if only != "" && only != m.name {
			continue
		}
		if err := m.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}
