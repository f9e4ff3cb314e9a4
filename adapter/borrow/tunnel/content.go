package tunnel

import (
	"context"
	"time"

	"podstep.dev/internal/filter"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// bodyPatience is for a body that a rule looks into; what comes later is judged by what there is. The agent's own patience is longer.
const bodyPatience = 2 * time.Second

// about is what a filter is shown of the request's head.
func (x *exchange) about() filter.Request {
	return filter.Request{Method: x.request.Method, Target: x.request.Target, Fields: x.request}
}

// peek waits for as much of the request's content as a filter may look into and its agent sends before the answer. A client that waits for
// 100 (Continue) is not kept waiting: it sends nothing before somebody has its request.
func (x *exchange) peek(ctx context.Context, stream *mux.Stream) (body []byte, complete bool) {
	timer := time.NewTimer(bodyPatience)
	defer timer.Stop()
	head := len(x.request.Raw)
	for {
		raw := x.first[head:]
		_, complete, err := x.request.Body.Scanner().Take(raw)
		if complete || err != nil || x.request.Expect || len(raw) >= filter.MaxBody || len(x.first) >= wire.MaxFirst {
			return x.request.Body.Content(raw), complete
		}
		ahead, b := make(chan read, 1), make([]byte, wire.MaxFirst-len(x.first))
		go func() {
			n, err := stream.Read(b)
			ahead <- read{b[:n], err}
		}()
		select {
		case r := <-ahead:
			x.rec.Request(r.b)
			x.first = append(x.first, r.b...)
			if r.err != nil {
				x.asker = &resumed{asker: x.asker, err: r.err}
				return x.request.Body.Content(x.first[head:]), false
			}
			continue
		case <-timer.C:
		case <-ctx.Done():
		}
		x.asker = &resumed{asker: x.asker, ahead: ahead}
		return x.request.Body.Content(raw), false
	}
}

// resumed is an asker that was read from already.
type resumed struct {
	asker
	// ahead has what a Read that is under way reads; nil when there is none.
	ahead chan read
	// left and err are what was read and not handed on.
	left []byte
	err  error
}

// Read hands on what was read ahead first.
func (r *resumed) Read(b []byte) (int, error) {
	if r.ahead != nil {
		got := <-r.ahead
		r.ahead, r.left, r.err = nil, got.b, got.err
	}
	if len(r.left) > 0 {
		n := copy(b, r.left)
		r.left = r.left[n:]
		return n, nil
	}
	if r.err != nil {
		return 0, r.err
	}
	return r.asker.Read(b)
}

// Reset is the asker's own.
func (r *resumed) Reset() { splice.Reset(r.asker) }
