package process

import (
	"io"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"podstep.dev/internal/logging"
)

// lastLine bounds the wait for what a dead agent has left in the pipe.
const lastLine = 200 * time.Millisecond

// words is what an agent writes to its standard error.
type words struct {
	*logging.Words
	stderr *os.File
	over   sync.WaitGroup
}

// hear reads stderr, which it owns, in a goroutine that ends when the agent and all that inherited it have closed it.
func hear(stderr *os.File, log *zap.Logger) *words {
	w := &words{Words: logging.NewWords(log), stderr: stderr}
	w.over.Go(func() {
		defer stderr.Close()
		_, _ = io.Copy(w.Words, stderr)
	})
	return w
}

// wait waits for the last line of an agent that is over; a process that inherited its standard error is not waited for.
func (w *words) wait() {
	_ = w.stderr.SetReadDeadline(time.Now().Add(lastLine))
	w.over.Wait()
}
