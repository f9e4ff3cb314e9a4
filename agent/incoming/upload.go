//go:build linux

package incoming

import (
	"fmt"
	"io"
	"sync"
)

// upload is where a request's bytes go: to the adapter, with a copy for the target as long as that may have to answer, or to
// the target. Whoever reads the client writes and finishes; the rest is for whoever waits for the answer.
type upload struct {
	mu      sync.Mutex
	changed sync.Cond
	dst     io.Writer
	// stream is the adapter's, nil when the target was asked in the first place.
	stream   Stream
	switches bool
	budget   *budget
	// kept has all that was sent so far; nil when it is not kept any more. reserved is what it may grow to, from the budget.
	kept     []byte
	reserved int
	// asking : the adapter has not answered, so that all has to be kept.
	asking bool
	// whole is closed when the client has sent all of the request.
	whole chan struct{}
}

// newUpload goes on behind what was sent with the question and is kept. reserved is what was taken of the budget for it.
func newUpload(stream Stream, switches bool, b *budget, kept []byte, reserved int) *upload {
	u := &upload{dst: stream, stream: stream, switches: switches, budget: b, kept: kept, reserved: reserved, asking: true, whole: make(chan struct{})}
	u.changed.L = &u.mu
	return u
}

// straight sends everything to the target.
func straight(target io.Writer) *upload { return &upload{dst: target, whole: make(chan struct{})} }

// straightTo is where all of the request goes, nil when that may change.
func (u *upload) straightTo() io.Writer {
	if u.stream != nil {
		return nil
	}
	return u.dst
}

// write passes bytes on. Only the target's errors are told: what becomes of the stream is known to whoever reads it.
func (u *upload) write(p []byte) error {
	for len(p) > 0 {
		dst, n := u.admit(p)
		_, err := dst.Write(p[:n])
		if err != nil && (u.stream == nil || dst != io.Writer(u.stream)) {
			return &partyError{fmt.Errorf("pass a request on: %w", err)}
		}
		p = p[n:]
	}
	return nil
}

// admit says where the first n bytes go at this moment, of which a copy is kept if need be. It waits while no more may be sent before the
// adapter's answer.
func (u *upload) admit(p []byte) (dst io.Writer, n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.asking && len(u.kept) == u.reserved {
		u.changed.Wait()
	}
	n = len(p)
	switch room := u.reserved - len(u.kept); {
	case u.asking:
		n = min(n, room)
		u.kept = append(u.kept, p[:n]...)
	case u.kept != nil && n <= room:
		u.kept = append(u.kept, p...)
	default:
		u.release()
	}
	return u.dst, n
}

// finish says that the request is whole.
func (u *upload) finish() {
	u.mu.Lock()
	ends := u.stream != nil && u.dst == io.Writer(u.stream) && !u.switches
	u.mu.Unlock()
	if ends {
		_ = u.stream.CloseWrite()
	}
	close(u.whole)
}

// delivered says that the adapter took the request: it need not be kept any more if it is long.
func (u *upload) delivered() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asking = false
	u.changed.Broadcast()
}

// answered says that the response is over and that the protocol stays.
func (u *upload) answered() {
	if u.switches {
		_ = u.stream.CloseWrite()
	}
}

// keep tells whether the target can have the request, all of which is kept then until turnTo or drop.
func (u *upload) keep() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asking = u.kept != nil
	return u.asking
}

// turnTo sends what is kept, and everything from here on, to the target. That it takes no more is told to whoever writes on, and to
// whoever reads the target.
func (u *upload) turnTo(target io.Writer) {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, _ = target.Write(withoutEmptyLine(u.kept))
	u.redirect(target)
}

// isTargets tells whether the request is the target's.
func (u *upload) isTargets() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.stream == nil || u.dst != io.Writer(u.stream) && u.dst != io.Discard
}

// drop has the rest of the request go nowhere.
func (u *upload) drop() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.redirect(io.Discard)
}

func (u *upload) redirect(dst io.Writer) {
	u.dst, u.asking = dst, false
	u.release()
	u.changed.Broadcast()
}

// forget keeps no copy any more.
func (u *upload) forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.release()
}

// release gives the copy's memory back; the caller holds mu.
func (u *upload) release() {
	if u.kept != nil {
		u.budget.give(u.reserved)
		u.kept = nil
	}
}
