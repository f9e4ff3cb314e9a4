//go:build linux

package incoming

import (
	"errors"

	"golang.org/x/net/http2/hpack"

	"podstep.dev/internal/h2"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// handOn takes the next n bytes of what waits as handed on, with a copy kept if need be, and lets the client send as much again.
func (x *h2exchange) handOn(n int) {
	p := x.waiting[:n]
	x.waiting = x.waiting[n:]
	if x.keeps && x.head+len(x.kept)+n <= wire.MaxFirst {
		x.kept = append(x.kept, p...)
	} else {
		x.keeps, x.kept = false, nil
	}
	paid := min(n, x.unpaid)
	if len(x.waiting) == 0 {
		x.waiting, paid = nil, x.unpaid
	}
	x.unpaid -= paid
	x.credited += paid
	x.interposer.credit(x.s, paid)
	x.account()
	x.space.Broadcast()
}

// stopSending ends send.
func (x *h2exchange) stopSending() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over, x.done = true, true
	x.changed.Broadcast()
}

// push takes in content of the client's, which took size bytes of its windows.
func (x *h2exchange) push(p []byte, size int) {
	x.waiting = append(x.waiting, p...)
	if x.unpaid += size; len(x.waiting) == 0 {
		// Padding, or nothing: not worth a frame.
		x.interposer.credit(x.s, x.unpaid)
		x.credited += x.unpaid
		x.unpaid = 0
	}
	if !x.account() {
		x.starved = true
	}
	x.changed.Broadcast()
}

// finish takes in the client's trailer.
func (x *h2exchange) finish(trailer []hpack.HeaderField) {
	x.trailer = trailer
	x.changed.Broadcast()
}

// send hands the request on, and that the client gave it up, if it does: also when it is sent whole, so the half ends with the response.
// What becomes of the stream is known to whoever reads it.
func (x *h2exchange) send(stream Stream) {
	w := h2.NewWriter(stream)
	for {
		switch p, end, err := x.next(); {
		case err != nil:
			if reset := new(h2.ResetError); errors.As(err, &reset) {
				_ = w.Reset(reset.Code)
				splice.Reset(stream)
			}
			return
		case end && x.trailer != nil:
			_ = w.Head(x.trailer, true)
		case len(p) > 0 || end:
			_ = w.Data(p, end)
		}
		x.down.out.FlushLater()
		x.noteSent()
	}
}

// next waits for what is to be handed on next; end says that the request ends with it. The error says that nothing is, any more.
func (x *h2exchange) next() (p []byte, end bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for {
		n := min(len(x.waiting), h2.MaxData)
		if x.asking {
			n = max(min(n, wire.MaxFirst-x.head-len(x.kept)), 0)
		}
		switch {
		case x.givenUp && !x.done:
			return nil, false, &h2.ResetError{Code: x.code}
		case x.over:
			return nil, false, h2.ErrClosed
		case n > 0:
			p = x.waiting[:n:n]
			x.handOn(n)
			end = x.s.ended && len(x.waiting) == 0 && x.trailer == nil
			x.sent = end
			return p, end, nil
		case x.s.ended && len(x.waiting) == 0 && !x.sent:
			x.sent = true
			return nil, true, nil
		}
		x.changed.Wait()
	}
}

// noteSent tells who waits for it that the request was handed on whole.
func (x *h2exchange) noteSent() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.sent && !x.over {
		x.forgetIfOver(x.s)
		x.changed.Broadcast()
	}
}

// delivered says that the adapter took the request: it need not be kept any more if it is long.
func (x *h2exchange) delivered() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.asking = false
	x.changed.Broadcast()
}

// forgetCopy keeps nothing for the target any more.
func (x *h2exchange) forgetCopy() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.keeps, x.kept = false, nil
	x.account()
}
