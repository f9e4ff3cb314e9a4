package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/logging"
)

// Exit statuses of podstep itself.
const (
	statusFault = 1
	statusUsage = 2
	// statusInterrupted is what a shell makes of SIGINT.
	statusInterrupted = 130
)

// sessions are what the commands start. The fields are functions so that the commands can be tested without a target.
type sessions struct {
	// dap serves one editor until its session has ended. It closes the editor's connection. debugger names the debugger, "" when the
	// editor says so itself.
	dap func(ctx context.Context, editor io.ReadWriteCloser, debugger string, log *zap.Logger) error
	// run runs argv as the debuggee and returns its exit status, 128+N after signal N.
	run func(ctx context.Context, m config.Mirror, argv []string, log *zap.Logger) (status int, err error)
}

// podstep is one call of the program: its streams and its flags.
type podstep struct {
	in        io.Reader
	out, errs io.Writer
	getenv    func(string) string
	sessions  sessions

	output            string
	logLevel, logFile string
}

// exitStatus ends the program with the debuggee's status and without a word.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// execute runs one command line and returns the exit status.
func (p *podstep) execute(ctx context.Context, args []string) int {
	root := p.root()
	root.SetArgs(args)
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.errs)
	err := root.ExecuteContext(ctx)
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	if err == nil {
		return 0
	}
	f := asFault(err)
	p.printFault(f)
	if f.ID == fault.BadUsage {
		return statusUsage
	}
	return statusFault
}

// faulty makes a command's errors faults, so that what remains is cobra's.
func faulty(run func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		var status exitStatus
		if err == nil || errors.As(err, &status) {
			return err
		}
		return fault.As(err)
	}
}

// asFault makes a usage fault of what cobra says; see faulty.
func asFault(err error) *fault.Fault {
	var f *fault.Fault
	if errors.As(err, &f) {
		return f
	}
	return fault.New(fault.BadUsage, err.Error(), nil)
}

func (p *podstep) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "podstep",
		Short: "Step in your editor through the requests that a live pod receives",
		Long: `podstep puts a process on this machine into the place of another one, the target, in a Kubernetes cluster or on this machine:
it gets the target's incoming requests, or a copy of them, and its network, names and environment. The target is not changed.

The exit status is 0, or 1 for a fault, which is printed with its id (see docs/errors.md), or 2 for a bad command line.`,
		Example: `  podstep run -n shop --target deployment/web --steal 80:8080 -- python3 server.py
  podstep check .vscode/launch.json
  podstep dap                      (an editor starts this one)`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.ArbitraryArgs,
		RunE:              noCommand,
		PersistentPreRunE: func(*cobra.Command, []string) error { return p.checkOutput() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SuggestionsMinimumDistance = 2
	flags := root.PersistentFlags()
	flags.StringVarP(&p.output, "output", "o", "text", "form of results and faults: text or json")
	flags.StringVar(&p.logLevel, "log-level", "", "least level that is logged: debug, info, warn or error (default warn; env PODSTEP_LOG)")
	flags.StringVar(&p.logFile, "log-file", "", "append the log to this file (default standard error; env PODSTEP_LOG_FILE)")
	for _, cmd := range []*cobra.Command{p.askCommand(), p.dapCommand(), p.runCommand(), p.checkCommand(), p.doctorCommand(), p.rbacCommand(), p.requestsCommand(), p.revokeCommand(), p.rulesCommand(), p.schemaCommand(), p.targetsCommand(), p.versionCommand(), p.yieldCommand()} {
		cmd.RunE = faulty(cmd.RunE)
		root.AddCommand(cmd)
	}
	return root
}

// noCommand shows the help, or says which command was probably meant.
func noCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return root.Help()
	}
	f := fault.New(fault.BadUsage, fmt.Sprintf("there is no command %q", args[0]), nil)
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		f.Hint = fmt.Sprintf("Did you mean: podstep %s", near[0])
	} else {
		f.Hint = "See: podstep help"
	}
	return f
}

func (p *podstep) checkOutput() error {
	if p.output == "text" || p.output == "json" {
		return nil
	}
	given := p.output
	p.output = "text"
	return fault.New(fault.BadUsage, fmt.Sprintf("--output %s is neither text nor json", given), nil)
}

// log makes the logger that the flags or the environment ask for. The caller calls close at the end.
func (p *podstep) log() (log *zap.Logger, close func(), err error) {
	level, file := first(p.logLevel, p.getenv("PODSTEP_LOG"), "warn"), first(p.logFile, p.getenv("PODSTEP_LOG_FILE"))
	w, close := p.errs, func() {}
	if file != "" {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, nil, fault.New(fault.BadFile, "cannot write the log", err)
		}
		w, close = f, func() { _ = f.Close() }
	}
	log, err = logging.New(w, level)
	if err != nil {
		close()
		return nil, nil, fault.New(fault.BadUsage, fmt.Sprintf("there is no log level %q", level), nil)
	}
	return log, close, nil
}

func first(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}
