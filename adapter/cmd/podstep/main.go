// Command podstep is what an editor and a person start: "podstep dap" is a debug adapter, "podstep run" the same session
// without a debugger, and the rest helps to set them up. Exit status: 0, or the command's own for run (128+N after signal N);
// 1 for a fault, which is printed with its id; 2 for a command line that makes no sense.
package main

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

func main() {
	// Both before any signal is caught: what the starter set to be ignored stays so, as nohup wants it.
	passed, endings := heeded(passedOn()), heeded([]os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP})
	ctx, stop := signal.NotifyContext(context.Background(), endings...)
	p := &podstep{in: os.Stdin, out: os.Stdout, errs: os.Stderr, getenv: os.Getenv, sessions: newSessions(passed)}
	status := p.execute(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

// heeded leaves out the signals that are ignored.
func heeded(all []os.Signal) []os.Signal { return slices.DeleteFunc(all, signal.Ignored) }
