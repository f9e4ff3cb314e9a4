package attach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/cluster/attach/exec"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/fault"
)

// firstByte bounds how long an agent may take to greet: joining waits up to 5 s for an agent that is just starting.
const firstByte = 10 * time.Second

// Link is the connection to an agent.
type Link struct {
	// Agent names it for logs.
	Agent string

	conn   *exec.Conn
	first  place.First
	closed sync.Once
	err    error
}

// join runs the agent's bridge and waits for the agent's first byte. An agent that ended meanwhile is errGone.
func (a *Attacher) join(ctx context.Context, ag agent) (*Link, error) {
	conn, err := a.Exec.Dial(ctx, exec.Call{
		Namespace: ag.Namespace, Pod: ag.Pod, Container: ag.Container, Command: []string{program, "join"},
	})
	if err != nil {
		return nil, a.execFault(ctx, err, ag)
	}
	l := &Link{conn: conn, Agent: ag.String()}
	if err := l.awaitFirst(ctx); err != nil {
		_ = l.Close()
		return nil, a.startFault(ctx, err, ag)
	}
	a.remember(ag)
	return l, nil
}

// remember keeps the agent's job in mind for Leave.
func (a *Attacher) remember(ag agent) {
	if ag.Job == "" {
		return
	}
	ag.Started = false
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.jobs == nil {
		a.jobs = map[agent]bool{}
	}
	a.jobs[ag] = true
}

func (l *Link) awaitFirst(ctx context.Context) error {
	return l.first.Await(ctx, l.conn, firstByte, func() { _ = l.conn.Close() })
}

// Read is to be called by one goroutine at a time. When the link ends it returns io.EOF, or an error with the last words of
// the other end.
func (l *Link) Read(b []byte) (int, error) { return l.first.Read(l.conn, b) }

// Write sends b whole.
func (l *Link) Write(b []byte) (int, error) { return l.conn.Write(b) }

// Close ends the link.
func (l *Link) Close() error {
	l.closed.Do(func() { l.err = l.conn.Close() })
	return l.err
}

// startFault says why an agent did not greet.
func (a *Attacher) startFault(ctx context.Context, err error, ag agent) error {
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrLost):
		return place.Temporary(fault.New(fault.LinkLost, fmt.Sprintf("the connection to the agent (%s) broke", ag), err))
	case errors.As(err, &exit) && exit.Code == 0 && isNoProgram(exit.Text):
		return fault.New(fault.AgentImage, fmt.Sprintf("the agent's image (%s) has no program that runs on the node", ag), err)
	case !ag.Started && (errors.As(err, &exit) || errors.Is(err, io.EOF) || isGone(err)):
		return fmt.Errorf("%w: %w", errGone, err)
	case errors.As(err, &exit), isGone(err):
		if ended := a.outcome(ctx, ag); ended != nil {
			return ended
		}
		return fault.New(fault.AgentStart, fmt.Sprintf("the agent (%s) cannot be joined", ag), err)
	}
	return fault.New(fault.AgentStart, fmt.Sprintf("the agent (%s) did not greet", ag), err)
}

// execFault tells what keeps a program from being run in an agent's container.
func (a *Attacher) execFault(ctx context.Context, err error, ag agent) error {
	if isGone(err) {
		if ag.Started {
			if ended := a.outcome(ctx, ag); ended != nil {
				return ended
			}
		}
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return api.Fault(err, fmt.Sprintf("run the link to the agent (%s)", ag))
}

// isNoProgram tells an image without the agent's program, or with one of another architecture, by the words of runc and crun.
func isNoProgram(text string) bool {
	return strings.Contains(text, "no such file or directory") || strings.Contains(text, "exec format error") || strings.Contains(text, "executable file not found")
}

// isGone tells that there is no such container running: the kubelet says so in words alone.
func isGone(err error) bool {
	text := err.Error()
	return apierrors.IsNotFound(err) || strings.Contains(text, "container not found") || strings.Contains(text, "is not running") ||
		strings.Contains(text, "not found in pod") || strings.Contains(text, "cannot exec in a stopped") || strings.Contains(text, "container is not created or running") ||
		strings.Contains(text, "no running task found")
}
