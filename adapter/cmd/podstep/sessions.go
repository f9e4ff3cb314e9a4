package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"runtime"

	"go.uber.org/zap"

	"podstep.dev/adapter"
	"podstep.dev/adapter/borrow"
	"podstep.dev/adapter/cluster"
	"podstep.dev/adapter/config"
	"podstep.dev/adapter/process"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/program"
	"podstep.dev/internal/wire"
)

// newSessions starts sessions of this machine. A run passes these signals on.
func newSessions(passed []os.Signal) sessions {
	if runtime.GOOS != "linux" {
		notLinux := fault.New(fault.NotLinux, "podstep cannot borrow a target from this machine", nil)
		return sessions{
			dap: func(context.Context, io.ReadWriteCloser, string, *zap.Logger) error { return notLinux },
			run: func(context.Context, config.Mirror, []string, *zap.Logger) (int, error) { return 0, notLinux },
		}
	}
	return sessions{dap: dap, run: func(ctx context.Context, m config.Mirror, argv []string, log *zap.Logger) (int, error) {
		return run(ctx, m, argv, passed, log)
	}}
}

func dap(ctx context.Context, editor io.ReadWriteCloser, debugger string, log *zap.Logger) error {
	return adapter.Serve(ctx, editor, adapter.Options{
		Log: log, Debugger: debugger,
		Begin: func(ctx context.Context, w adapter.Wish) (adapter.Borrow, error) {
			m, err := config.Parse(w.Mirror)
			if err != nil {
				return nil, err
			}
			opts := borrowing(log)
			opts.Say, opts.OwnEnv, opts.Held, opts.Asked = w.Say, w.OwnEnv, w.Held, w.Asked
			return begin(ctx, m, opts)
		},
	})
}

func run(ctx context.Context, m config.Mirror, argv []string, passed []os.Signal, log *zap.Logger) (int, error) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, passed...)
	defer signal.Stop(signals)
	opts := borrowing(log)
	opts.Say = func(line string) { _, _ = fmt.Fprintln(os.Stderr, "podstep: "+line) }
	command := adapter.Command{Argv: argv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Signals: signals}
	status, err := adapter.Run(ctx, command, func(ctx context.Context) (adapter.Borrow, error) { return begin(ctx, m, opts) })
	if status.Signal != 0 {
		return 128 + int(status.Signal), err
	}
	return status.Code, err
}

// begin keeps a borrow that failed from becoming a Borrow that is not nil.
func begin(ctx context.Context, m config.Mirror, opts borrow.Options) (adapter.Borrow, error) {
	b, err := borrow.Start(ctx, m, opts)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// borrowing is what every borrow of this machine is given.
func borrowing(log *zap.Logger) borrow.Options {
	name, session := holder(), rand.Text()
	return borrow.Options{
		Log: log,
		Provider: provider{
			here:    process.Provider{Log: log},
			cluster: cluster.Provider{Log: log, Holder: name, Session: session, Transport: os.Getenv("PODSTEP_TRANSPORT")},
		},
		Hello: wire.Hello{Program: "podstep " + program.Version(), Holder: name, Session: session},
	}
}

// holder says for whom the session is, as others see who holds a port: user@machine.
func holder() string {
	name := "somebody"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}
