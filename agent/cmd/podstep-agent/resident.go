//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"podstep.dev/agent"
	"podstep.dev/agent/door"
	"podstep.dev/agent/incoming/redirect"
	"podstep.dev/agent/target"
	"podstep.dev/internal/logging"
	"podstep.dev/internal/program"
	"podstep.dev/internal/wire"
)

// exitTaken says that another resident is here (EX_TEMPFAIL of sysexits.h).
const exitTaken = 75

// resident holds the container until it is of no more use: sessions join it through the door.
func resident(args []string) int {
	s, err := readSettings(args, os.Stderr)
	if err != nil {
		return 2
	}
	if s.enter {
		return sayBye(enter(s.container, args))
	}
	return sayBye(reside(s))
}

// plain are an error's words for people: a refusal's without its errno.
func plain(err error) string {
	var refusal *wire.Refusal
	if errors.As(err, &refusal) && refusal.Text != "" {
		return refusal.Text
	}
	return err.Error()
}

// enter begins anew in the target's namespaces. It returns only on error.
func enter(container string, args []string) error {
	pid, err := target.Find(container)
	if err != nil {
		return err
	}
	if err := target.Enter(pid); err != nil {
		return err
	}
	again := append([]string{os.Args[0], "resident"}, slices.DeleteFunc(args, isEnter)...)
	return fmt.Errorf("start again: %w", syscall.Exec("/proc/self/exe", again, os.Environ()))
}

// isEnter tells the flag --enter in all its spellings.
func isEnter(arg string) bool {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	return strings.HasPrefix(arg, "-") && name == "enter"
}

// sayBye leaves the last words where a person finds them, and returns the exit status.
func sayBye(err error) int {
	words := program.Agent + ": " + plain(err)
	fmt.Fprintln(os.Stderr, words)
	if f, ferr := os.OpenFile("/dev/termination-log", os.O_WRONLY|os.O_TRUNC, 0); ferr == nil {
		_, _ = f.WriteString(words)
		_ = f.Close()
	}
	if isTaken(err) {
		return exitTaken
	}
	for _, done := range []error{agent.ErrLeft, agent.ErrLost, agent.ErrUnjoined, agent.ErrLifetime, agent.ErrTargetGone, context.Canceled} {
		if errors.Is(err, done) {
			return 0
		}
	}
	return 1
}

// isTaken tells that another resident is here.
func isTaken(err error) bool {
	var refusal *wire.Refusal
	return errors.As(err, &refusal) && refusal.Reason == wire.ReasonTaken
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
	mark, err := redirect.Reside(wire.Holder{Name: s.name, Since: time.Now().UTC().Truncate(time.Second)})
	switch {
	case isTaken(err):
		return err
	case err != nil:
		// It installs no rules, so it is in nobody's way.
		log.Debug("not marked as resident", zap.Error(err))
	default:
		defer func() { err = errors.Join(err, mark.Close()) }()
	}
	log.Info("resident", zap.String("version", program.Version()), zap.String("container", s.container), zap.Int("pid", t.PID()))
	d, err := door.Open(s.socket, log.Named("door"))
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		limitProcess(log, t.PID(), s.memoryLimit)
		log.Info("as this user there is no door: each session is served by the program that joins", zap.Int("uid", os.Geteuid()))
		return hold(ctx, s, t)
	}
	if err != nil {
		return err
	}
	return serveDoor(ctx, d, agent.New(s.options(log, t)))
}

// serveDoor serves sessions that come in through the door, and ends them all when there is a reason to go.
func serveDoor(ctx context.Context, d *door.Door, a *agent.Agent) error {
	serving, end := context.WithCancelCause(context.WithoutCancel(ctx))
	served := make(chan struct{})
	go func() {
		defer close(served)
		d.Serve(serving, a)
	}()
	reason := a.Run(ctx)
	end(reason)
	<-served
	return errors.Join(reason, a.Close(ctx))
}

// hold only keeps the container, while others in it serve sessions.
func hold(ctx context.Context, s settings, t *target.Target) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stay := agent.NewStay(s.unjoined)
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		if err := door.Look(ctx, func() { stay.Join("") }, stay.Leave, func() { stay.Lose("") }); err != nil {
			cancel(err)
		}
	}()
	reason := stay.Run(ctx, s.lifetime, t.Exited())
	cancel(reason)
	<-looked
	return reason
}

func (s settings) options(log *zap.Logger, t *target.Target) agent.Options {
	buffers, connections := limitProcess(log, t.PID(), s.memoryLimit)
	return agent.Options{
		Log: log, Target: t, Steal: s.steal, Lifetime: s.lifetime, Unjoined: s.unjoined,
		Memory: buffers, Connections: connections,
	}
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
