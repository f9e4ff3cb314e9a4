package tunnel

import (
	"bytes"
	"context"
	"slices"
	"time"

	"podstep.dev/internal/filter"
	"podstep.dev/internal/h2"
	"podstep.dev/internal/wire"
)

// about is what a filter is shown of the request's head: an authority is the Host that it stands for (RFC 9113 §8.3.1).
func (x *h2exchange) about() filter.Request {
	authority := h2.Value(x.head.Fields, ":authority")
	list := filter.List{}
	if authority != "" {
		list = append(list, filter.Field{Name: "Host", Value: authority})
	}
	for _, f := range x.head.Fields {
		if !f.IsPseudo() && (f.Name != "host" || f.Value != authority) {
			list = append(list, filter.Field{Name: f.Name, Value: f.Value})
		}
	}
	return filter.Request{Method: h2.Value(x.head.Fields, ":method"), Target: h2.Value(x.head.Fields, ":path"), Fields: list}
}

// h2read is what one Next returned.
type h2read struct {
	frame h2.Frame
	err   error
}

// peek waits for as much of the request's content as a filter may look into and its agent sends before the answer.
func (x *h2exchange) peek(ctx context.Context) (body []byte, complete bool) {
	timer := time.NewTimer(bodyPatience)
	defer timer.Stop()
	for !x.head.End {
		if x.reading == nil {
			reading := make(chan h2read, 1)
			x.reading = reading
			x.asking.Go(func() {
				f, err := x.in.Next()
				f.Fields, f.Data = slices.Clone(f.Fields), bytes.Clone(f.Data)
				reading <- h2read{f, err}
			})
		}
		select {
		case r := <-x.reading:
			if r.err != nil {
				x.reading <- r
				return body, false
			}
			x.reading = nil
			x.early = append(x.early, r.frame)
			body = append(body, r.frame.Data...)
			switch {
			case r.frame.End:
				return body, true
			case len(body) >= filter.MaxBody, len(body) >= wire.MaxFirst/2:
				return body, false
			}
		case <-timer.C:
			return body, false
		case <-ctx.Done():
			return body, false
		}
	}
	return nil, true
}

// next is the request's next frame, from what was read early first.
func (x *h2exchange) next() (h2.Frame, error) {
	if len(x.early) > 0 {
		f := x.early[0]
		x.early = x.early[1:]
		return f, nil
	}
	if x.reading != nil {
		r := <-x.reading
		x.reading = nil
		return r.frame, r.err
	}
	return x.in.Next()
}
