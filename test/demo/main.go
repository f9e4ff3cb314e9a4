// Command demo tells podstep's whole story with the real programs: a service in a pod of this machine, a client that
// asks it five times a second, and an editor that stops at a breakpoint in one of the requests. It believes nothing: its
// exit status is 0 only if each claim of the story was seen. Run it by "make demo", which builds what it needs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"podstep.dev/internal/testkit/pod"
)

// limit bounds the whole story; each step has a bound of its own.
const limit = 5 * time.Minute

func main() {
	pod.Main()
	// SIGPIPE too: who reads no longer must not keep the demo from cleaning up.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run tells the story, or plays the part that the first argument names: the demo runs itself inside the pod.
func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 0:
		return tell(ctx)
	case args[0] == clientPart && len(args) == 4:
		return playClient(ctx, args[1], args[2], args[3])
	case args[0] == rulesPart:
		return countRules(os.Stdout)
	}
	return errors.New("usage: demo (without arguments)")
}
