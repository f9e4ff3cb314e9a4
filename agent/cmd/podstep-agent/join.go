//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.uber.org/zap"

	"podstep.dev/agent"
	"podstep.dev/agent/door"
	"podstep.dev/internal/logging"
	"podstep.dev/internal/program"
)

// doorTimeout is how long the resident's door may take to be there.
const doorTimeout = 5 * time.Second

// join makes standard input and output a link of the resident agent, and ends with it.
func join(args []string) int {
	socket, ok := socketFlag("join", args)
	if !ok {
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), doorTimeout)
	defer cancel()
	err := door.Join(ctx, socket, 0, 1)
	if errors.Is(err, door.ErrNoDoor) {
		err = serveBeside()
	}
	return report(err)
}

// serveBeside serves the session in this process, beside a resident that cannot have a door, as its arguments say.
func serveBeside() (err error) {
	s, err := besideSettings()
	if err != nil {
		return err
	}
	log, err := logging.New(os.Stderr, s.level)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, s.lifetime, agent.ErrLifetime)
	defer cancel()
	signal.Ignore(syscall.SIGPIPE)
	presence, err := door.Enter()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, presence.Close()) }()
	t, err := openTarget(s.container)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	link, err := door.NewLink(0, 1)
	if err != nil {
		return err
	}
	opts := s.options(log, t)
	opts.Changed = func(a *agent.Agent) {
		if err := presence.Show(a.Sessions().Sessions); err != nil {
			log.Warn("list not shown", zap.Error(err))
		}
	}
	a := agent.New(opts)
	err = errors.Join(a.Serve(ctx, link), a.Close(ctx))
	if linger, left := a.Left(); left {
		err = errors.Join(err, presence.Farewell(linger))
	}
	return err
}

// besideSettings are those of the resident of this container.
func besideSettings() (settings, error) {
	mates, err := door.Mates()
	if err != nil {
		return settings{}, err
	}
	for _, m := range mates {
		if len(m.Args) > 1 && m.Args[1] == "resident" {
			return readSettings(m.Args[2:], io.Discard)
		}
	}
	return settings{}, errors.New("join: no resident agent is here")
}

// sessions prints the resident agent's sessions.
func sessions(args []string) int {
	socket, ok := socketFlag("sessions", args)
	if !ok {
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), doorTimeout)
	defer cancel()
	list, err := door.Sessions(ctx, socket)
	if errors.Is(err, door.ErrNoDoor) {
		list, err = door.Shown()
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(list)
	}
	return report(err)
}

func socketFlag(command string, args []string) (socket string, ok bool) {
	flags := flag.NewFlagSet("podstep-agent "+command, flag.ContinueOnError)
	flags.StringVar(&socket, "socket", door.Path, "`path` of the resident's door")
	return socket, flags.Parse(args) == nil && flags.NArg() == 0
}

func report(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", program.Agent, err)
	return 1
}
