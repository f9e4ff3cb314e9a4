//go:build linux

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

	"go.uber.org/zap"

	"podstep.dev/agent"
	"podstep.dev/agent/door"
	"podstep.dev/agent/target"
	"podstep.dev/internal/logging"
	"podstep.dev/internal/program"
)

// exitTaken says that another resident is here (EX_TEMPFAIL of sysexits.h).
const exitTaken = 75

// settings are the flags of resident.
type settings struct {
	container, name, socket, level string
	enter                          bool
	steal                          agent.Steal
	lifetime, unjoined             time.Duration
}

// resident holds the container until it is of no more use: sessions join it through the door.
func resident(args []string) int {
	var s settings
	flags := flag.NewFlagSet("podstep-agent resident", flag.ContinueOnError)
	flags.StringVar(&s.container, "container", "", "`ID` of the target's container; without it this container itself is the target")
	flags.StringVar(&s.name, "name", "", "this container's own `name`, for others who find it here")
	flags.BoolVar(&s.enter, "enter", false, "enter the target's network and host name first")
	flags.Func("steal", "`policy` for steals: allow, filtered-only or deny (default allow)", func(text string) error {
		s.steal = agent.Steal(text)
		switch s.steal {
		case agent.StealAllow, agent.StealFilteredOnly, agent.StealDeny:
			return nil
		}
		return errors.New("no such policy")
	})
	flags.DurationVar(&s.lifetime, "lifetime", 24*time.Hour, "end everything after this time")
	flags.DurationVar(&s.unjoined, "unjoined", 30*time.Second, "end after this time without a link")
	flags.StringVar(&s.socket, "socket", door.Path, "`path` of the door")
	flags.StringVar(&s.level, "log", "info", "debug, info, warn or error")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 || s.enter && s.container == "" || s.lifetime <= 0 || s.unjoined <= 0 {
		fmt.Fprintln(os.Stderr, "podstep-agent resident: no arguments, --enter with --container only, and times above zero")
		return 2
	}
	limitRuntime()
	return sayBye(reside(s))
}

// sayBye leaves the last words where a person finds them, and returns the exit status.
func sayBye(err error) int {
	words := program.Agent + ": " + err.Error()
	fmt.Fprintln(os.Stderr, words)
	if f, ferr := os.OpenFile("/dev/termination-log", os.O_WRONLY|os.O_TRUNC, 0); ferr == nil {
		_, _ = f.WriteString(words)
		_ = f.Close()
	}
	for _, done := range []error{agent.ErrLeft, agent.ErrLost, agent.ErrUnjoined, agent.ErrLifetime, agent.ErrTargetGone, context.Canceled} {
		if errors.Is(err, done) {
			return 0
		}
	}
	return 1
}

// reside serves sessions until there is a reason to go, which it returns.
func reside(s settings) (err error) {
	log, err := logging.New(os.Stderr, s.level)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP)
	t, err := openTarget(s.container)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	d, err := door.Open(s.socket, log.Named("door"))
	if err != nil {
		return err
	}
	a := agent.New(agent.Options{Log: log, Target: t, Steal: s.steal, Lifetime: s.lifetime, Unjoined: s.unjoined})
	log.Info("resident", zap.String("version", program.Version()), zap.String("container", s.container), zap.Int("pid", t.PID()))
	serving, end := context.WithCancelCause(context.WithoutCancel(ctx))
	served := make(chan struct{})
	go func() { defer close(served); d.Serve(serving, a) }()
	reason := a.Run(ctx)
	end(reason)
	<-served
	return reason
}

// openTarget finds the container's first process; without a container this process stands for the target.
func openTarget(container string) (*target.Target, error) {
	if container == "" {
		return target.Own()
	}
	pid, err := target.Find(container)
	if err != nil {
		return nil, err
	}
	return target.Open(pid)
}
