package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"podstep.dev/internal/enter"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/program"
)

// firstByte bounds how long an agent may take to say its first byte; it takes a few milliseconds.
const firstByte = 10 * time.Second

// Attach starts an agent beside the process and returns the link to it, on which the agent has said its first byte. Errors
// are *fault.Fault: NoTarget, TargetForbidden, AgentMissing, AgentStart.
func (o *one) Attach(ctx context.Context) (io.ReadWriteCloser, error) {
	agent := o.provider.Agent
	if agent == "" {
		var err error
		if agent, err = program.Find(program.Agent); err != nil {
			return nil, fault.New(fault.AgentMissing, program.Agent+" was not found", err)
		}
	}
	o.say(fmt.Sprintf("starting the agent beside %s", o.held.name))
	l, err := o.provider.start(o.held, agent)
	if err != nil {
		return nil, err
	}
	if err := l.awaitFirst(ctx, firstByte); err != nil {
		_ = l.Close()
		return nil, l.startFault(err)
	}
	o.provider.log().Info("agent started", zap.Int("pid", l.proc.Pid), zap.String("target", o.String()))
	return l, nil
}

// start runs the agent with one end of a socket pair as its standard input and output.
func (p Provider) start(held *heldTarget, agent string) (*link, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fault.New(fault.AgentStart, "cannot make the link to the agent", err)
	}
	defer theirs.Close()
	words, stderr, err := os.Pipe()
	if err != nil {
		_ = ours.Close()
		return nil, fault.New(fault.AgentStart, "cannot make the link to the agent", err)
	}
	defer stderr.Close()
	proc, err := enter.Start(held.Target, enter.Program{
		Path:   agent,
		Args:   []string{"serve", "--pid", strconv.Itoa(held.Pid), "--log", p.level().String()},
		Stdin:  theirs,
		Stdout: theirs,
		Stderr: stderr,
	})
	if err != nil {
		_ = ours.Close()
		_ = words.Close()
		return nil, held.enterFault(err, agent)
	}
	return newLink(ours, proc, words, p.log().Named("agent")), nil
}

// socketPair makes the link. The agent's end blocks, as any program expects of its standard input.
func socketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	file := os.NewFile(uintptr(fds[0]), "link")
	theirs = os.NewFile(uintptr(fds[1]), "link")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("socketpair: %w", err), theirs.Close())
	}
	return conn.(*net.UnixConn), theirs, nil
}

// startFault says why the agent did not get as far as its greeting. The agent is over.
func (l *link) startFault(err error) *fault.Fault {
	what := "the agent did not greet"
	if errors.Is(err, io.EOF) {
		what = fmt.Sprintf("the agent ended before it greeted (%s)", l.outcome())
	}
	if said := l.words.Tail(); said != "" {
		return &fault.Fault{ID: fault.AgentStart, What: what, Hint: "The agent said: " + said, Err: cause(err)}
	}
	return fault.New(fault.AgentStart, what, cause(err))
}

// cause drops the EOF that the fault's own words already say.
func cause(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
