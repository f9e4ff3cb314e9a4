// Command podstep-launch is the debuggee's end of podstep: `exec` becomes the debuggee under interception, `keep` ends
// a debugger and all below it when podstep dies. People do not call it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"

	"podstep.dev/internal/program"
	"podstep.dev/launcher"
)

const usage = `usage: podstep-launch exec --session SOCKET [--traced] [--no-env] -- COMMAND [ARGUMENT]...
       podstep-launch keep ...   (by podstep only)
       podstep-launch version`

// failed is what a shell gives for a command that cannot be run.
const failed = 127

func main() {
	// The thread that starts or becomes the debuggee: the main one, so that a tracer sees its pid exec.
	runtime.LockOSThread()
	if len(os.Args) < 2 {
		fail(fmt.Errorf("no command\n%s", usage))
	}
	ctx := context.Background()
	switch os.Args[1] {
	case "exec":
		fail(execute(ctx, os.Args[2:]))
	case "keep":
		fail(keep(ctx, os.Args[2:]))
	case "version":
		fmt.Println(program.Launcher, program.Version())
	default:
		fail(fmt.Errorf("unknown command %q\n%s", os.Args[1], usage))
	}
}

func execute(ctx context.Context, args []string) error {
	var opts launcher.ExecOptions
	flags := newFlags("exec")
	flags.StringVar(&opts.Session, "session", "", "")
	flags.IntVar(&opts.Handover, "handover", 0, "")
	flags.BoolVar(&opts.Traced, "traced", false, "")
	flags.BoolVar(&opts.NoEnv, "no-env", false, "")
	argv, err := parse(flags, args)
	if err != nil {
		return err
	}
	return launcher.Exec(ctx, argv, opts)
}

func keep(ctx context.Context, args []string) error {
	var opts launcher.KeepOptions
	flags := newFlags("keep")
	flags.StringVar(&opts.SessionDir, "session-dir", "", "")
	flags.StringVar(&opts.Mark, "mark", "", "")
	flags.BoolVar(&opts.Foreground, "foreground", false, "")
	argv, err := parse(flags, args)
	if err != nil {
		return err
	}
	return launcher.Keep(ctx, argv, opts)
}

func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.Usage = func() {}
	flags.SetOutput(io.Discard)
	return flags
}

// parse returns the command after the flags.
func parse(flags *flag.FlagSet, args []string) ([]string, error) {
	if err := flags.Parse(args); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", flags.Name(), err, usage)
	}
	if flags.NArg() == 0 {
		return nil, fmt.Errorf("%s: no command to run\n%s", flags.Name(), usage)
	}
	return flags.Args(), nil
}

func fail(err error) {
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "podstep-launch:", err)
	os.Exit(failed)
}
