package process

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"podstep.dev/adapter/place"
	"podstep.dev/internal/enter"
)

// closeGrace is how long an agent may take after the link's end: it drops its rules at once and drains the connections
// that it passed through to the target for 1 s. What it leaves undone then the kernel undoes with its death.
const closeGrace = 2 * time.Second

// link is the connection to an agent that this process started. Its goroutines: enter's, which waits for the agent, and
// the reader of its standard error; both end with the agent.
type link struct {
	*net.UnixConn
	proc  *enter.Process
	words *words

	first  place.First
	closed sync.Once
	err    error
}

func newLink(conn *net.UnixConn, proc *enter.Process, stderr *os.File, log *zap.Logger) *link {
	return &link{UnixConn: conn, proc: proc, words: hear(stderr, log)}
}

// awaitFirst waits for the agent's first byte; io.EOF means that the agent ended or closed its output.
func (l *link) awaitFirst(ctx context.Context, bound time.Duration) error {
	return l.first.Await(ctx, l.UnixConn, bound, func() { _ = l.SetReadDeadline(time.Unix(1, 0)) })
}

// Read is to be called by one goroutine at a time.
func (l *link) Read(b []byte) (int, error) { return l.first.Read(l.UnixConn, b) }

// Close ends the link, which ends the agent, and waits for it: it kills an agent that does not go by itself.
func (l *link) Close() error {
	l.closed.Do(func() {
		l.err = l.UnixConn.Close()
		timer := time.NewTimer(closeGrace)
		defer timer.Stop()
		select {
		case <-l.proc.Done():
		case <-timer.C:
			l.err = errors.Join(l.err, l.proc.Kill())
		}
		_, err := l.proc.Wait()
		l.err = errors.Join(l.err, err)
		l.words.wait()
	})
	return l.err
}

// outcome is how the agent ended, in the words of os.ProcessState. The agent is over.
func (l *link) outcome() string {
	state, err := l.proc.Wait()
	if err != nil {
		return err.Error()
	}
	return state.String()
}

var _ io.ReadWriteCloser = (*link)(nil)
