package door

import (
	"context"
	"io"
	"net"
	"sync"
)

// A relay is one connection through the door.
type relay struct {
	door  *Door
	front net.Conn
	lost  chan struct{} // closed: nothing passes any more

	mu     sync.Mutex
	back   net.Conn // nil until dialled
	gone   bool     // lost is closed
	closed bool
}

// join gives the relay its other end, which it closes; false: the relay is closed already.
func (r *relay) join(back net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		back.Close()
		return false
	}
	r.back = back
	return true
}

// run passes bytes both ways until both ends have said all.
func (r *relay) run(ctx context.Context) {
	var there sync.WaitGroup
	there.Go(func() { r.copy(ctx, r.back, r.front) })
	r.copy(ctx, r.front, r.back)
	there.Wait()
}

// copy passes on what from says, and its end, when the door lets it.
func (r *relay) copy(ctx context.Context, to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if r.wait(ctx) != nil {
			return
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				r.close()
				return
			}
		}
		if err == io.EOF {
			if half, ok := to.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
				return
			}
		}
		if err != nil {
			r.close()
			return
		}
	}
}

// wait returns when something may pass, with an error when nothing ever will.
func (r *relay) wait(ctx context.Context) error {
	for {
		frost := r.door.frost()
		if frost != nil {
			select {
			case <-frost:
				continue // there may be another one
			case <-ctx.Done():
				return errOver
			}
		}
		select {
		case <-r.lost:
			<-ctx.Done()
			return errOver
		default:
			return nil
		}
	}
}

func (r *relay) lose() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.gone {
		r.gone = true
		close(r.lost)
	}
}

// reset ends the connection at both ends without the usual farewell.
func (r *relay) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range []net.Conn{r.front, r.back} {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // it may be closed already
		}
	}
	r.closeLocked()
}

func (r *relay) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closeLocked()
}

func (r *relay) closeLocked() {
	r.closed = true
	r.front.Close()
	if r.back != nil {
		r.back.Close()
	}
}
