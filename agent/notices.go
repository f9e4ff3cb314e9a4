//go:build linux

package agent

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// notices sends what the adapter is told, in order, without holding up those who tell it. Its goroutine is ended by stop.
type notices struct {
	log  *zap.Logger
	done chan struct{}

	mu      sync.Mutex
	stopped bool
	queue   chan func() error
}

func startNotices(log *zap.Logger) *notices {
	n := &notices{log: log, queue: make(chan func() error, 64), done: make(chan struct{})}
	go func() {
		defer close(n.done)
		for send := range n.queue {
			if err := send(); err != nil {
				log.Debug("notice", zap.Error(err))
			}
		}
	}()
	return n
}

// add queues a notice, and says whether it could. Over a link that takes none of many, further ones are dropped; so are those
// after stop.
func (n *notices) add(send func() error) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped {
		return false
	}
	select {
	case n.queue <- send:
		return true
	default:
		n.log.Warn("notice dropped")
		return false
	}
}

// flush waits at most timeout until all that were added are sent.
func (n *notices) flush(timeout time.Duration) {
	sent := make(chan struct{})
	n.add(func() error { close(sent); return nil })
	select {
	case <-sent:
	case <-n.done:
	case <-time.After(timeout):
	}
}

// stop ends the sender when the link is closed, which ends a send that blocks.
func (n *notices) stop() {
	n.mu.Lock()
	n.stopped = true
	close(n.queue)
	n.mu.Unlock()
	<-n.done
}
