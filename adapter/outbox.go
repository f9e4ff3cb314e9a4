package adapter

import (
	"context"
	"io"
	"sync"

	"podstep.dev/adapter/dap"
)

// outboxRoom is how much may wait for one side before what feeds it stops reading, in bytes. Two sides that write before they read must not
// lock each other up, so a queue stands between; and a debuggee that prints without end must not fill the memory, so it is bounded.
const outboxRoom = 4 << 20

// outbox is the queue of messages to one side. Its one goroutine is run, which blocks on the side's Write and ends with it or with close.
type outbox struct {
	mu      sync.Mutex
	queue   [][]byte
	size    int // of what is queued or being written
	closed  bool
	changed chan struct{} // closed and replaced at each change
}

func newOutbox() *outbox { return &outbox{changed: make(chan struct{})} }

// put queues a message. It never blocks.
func (o *outbox) put(raw []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.queue = append(o.queue, raw)
	o.size += len(raw)
	o.notify()
}

// run writes until close or until a write fails.
func (o *outbox) run(w io.Writer) error {
	defer o.close()
	for {
		raw, ok := o.next()
		if !ok {
			return nil
		}
		err := dap.Write(w, raw)
		o.wrote(len(raw))
		if err != nil {
			return err
		}
	}
}

func (o *outbox) next() ([]byte, bool) {
	for {
		o.mu.Lock()
		if len(o.queue) > 0 {
			raw := o.queue[0]
			o.queue = o.queue[1:]
			o.mu.Unlock()
			return raw, true
		}
		closed, changed := o.closed, o.changed
		o.mu.Unlock()
		if closed {
			return nil, false
		}
		<-changed
	}
}

func (o *outbox) wrote(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.size -= n
	o.notify()
}

// room blocks until little waits, or nothing more will be written.
func (o *outbox) room() { o.until(nil, outboxRoom) }

// flush blocks until all is written, nothing more will be, or ctx ends.
func (o *outbox) flush(ctx context.Context) { o.until(ctx.Done(), 0) }

func (o *outbox) until(stop <-chan struct{}, size int) {
	for {
		o.mu.Lock()
		enough, changed := o.size <= size || o.closed, o.changed
		o.mu.Unlock()
		if enough {
			return
		}
		select {
		case <-changed:
		case <-stop:
			return
		}
	}
}

// close lets run end after what is queued.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed = true
		o.notify()
	}
}

func (o *outbox) notify() {
	close(o.changed)
	o.changed = make(chan struct{})
}
