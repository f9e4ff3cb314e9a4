//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"podstep.dev/agent"
	"podstep.dev/agent/door"
	"podstep.dev/agent/memory"
	"podstep.dev/agent/target"
	"podstep.dev/internal/logging"
	"podstep.dev/internal/program"
)

// gcPercent is less than Go's own 100: the memory is the target's, and little is allocated where bytes only pass. GOGC overrides it.
const gcPercent = 50

// cores is how many of the pod's run Go code of the agent at once. One carries more than a link does, and on one a stream's
// goroutines hand over without waking a thread each time: a stolen connection costs a quarter less of the pod's time.
// GOMAXPROCS overrides it.
const cores = 1

// serve serves one session on standard input and output until either ends, or SIGTERM. Lines go to standard error.
func serve(args []string) int {
	flags := flag.NewFlagSet("podstep-agent serve", flag.ContinueOnError)
	pid := flags.Int("pid", 0, "the target's process, as this process sees it")
	level := flags.String("log", "info", "debug, info, warn or error")
	drain := flags.Duration("drain", 0, "how long passed connections may go on after the link's end (default 800ms)")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *pid <= 0 || flags.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "podstep-agent serve: --pid N is needed, and nothing else")
		return 2
	}
	if err := run(*pid, *level, *drain); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", program.Agent, err)
		return 1
	}
	return 0
}

func run(pid int, level string, drain time.Duration) (err error) {
	log, err := logging.New(os.Stderr, level)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	// A write to a link whose reader is gone must be an error, not the end: passed connections have yet to finish.
	signal.Ignore(syscall.SIGPIPE)
	t, err := target.Open(pid)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	conn, err := door.NewLink(0, 1)
	if err != nil {
		return err
	}
	buffers, connections := limitProcess(log, pid, 0)
	a := agent.New(agent.Options{Log: log, Target: t, Drain: drain, Memory: buffers, Connections: connections})
	err = errors.Join(a.Serve(ctx, conn), a.Close(ctx))
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// limitProcess keeps the process within what an agent may take of the pod of the process target, and returns the cap on
// its buffers in bytes, and on stolen connections. told is the memory limit that somebody else knows, 0 for none. GOMEMLIMIT overrides what the Go runtime
// aims to stay below.
func limitProcess(log *zap.Logger, target, told int) (buffers, connections int) {
	if err := memory.Sacrifice(); err != nil {
		log.Warn("memory", zap.Error(err))
	}
	limit := memory.Lower(memory.Limit(target), told)
	buffers = memory.Cap(limit)
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		log.Warn("open files", zap.Error(err))
	}
	connections = memory.Connections(limit, files.Cur)
	log.Debug("memory", zap.Int("limit", limit), zap.Int("buffers", buffers), zap.Int("connections", connections))
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(memory.Program + buffers + connections*memory.Conversation))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(cores)
	}
	return buffers, connections
}
