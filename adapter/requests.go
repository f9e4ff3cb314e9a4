package adapter

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/dap"
)

const (
	// tellEvery is how often a client that follows the requests is told of them at most.
	tellEvery = 50 * time.Millisecond
	// maxTold is of how many at once.
	maxTold = 20
)

// requests is the borrow's log of requests, nil when it has none.
func (o *owner) requests() *requests.Log {
	if b, ok := o.borrow.(interface{ Requests() *requests.Log }); ok {
		return b.Requests()
	}
	return nil
}

// consult answers a request about requests.
func (o *owner) consult(ctx context.Context, a consult) {
	body, err := o.consulted(ctx, a.request)
	o.do(ctx, o.session.consulted(a.request, body, err))
}

// consulted is the answer's body.
func (o *owner) consulted(ctx context.Context, m dap.Message) (any, error) {
	var which struct {
		ID       uint64        `json:"id"`
		Since    uint64        `json:"since"`
		Limit    int           `json:"limit"`
		Format   requests.Form `json:"format"`
		Unmasked bool          `json:"unmasked"`
		Edited   string        `json:"edited"`
	}
	if err := m.Decode("arguments", &which); err != nil {
		return nil, err
	}
	log := o.requests()
	if log == nil {
		log = requests.New(requests.Options{}) // nothing was borrowed yet
	}
	switch m.Command {
	case "podstep/requests":
		return map[string]any{"requests": log.List(which.Since, which.Limit)}, nil
	case "podstep/replay":
		return o.replay(ctx, log, which.ID, which.Edited)
	}
	e, ok := log.Entry(which.ID, requests.Secrets(which.Unmasked))
	if !ok {
		return nil, requests.ErrGone
	}
	if which.Format == "" {
		return map[string]any{"request": e}, nil
	}
	text, ok := e.Export(which.Format)
	if !ok {
		return nil, fmt.Errorf("format %q is none of %v", which.Format, requests.Forms())
	}
	return map[string]any{"text": text}, nil
}

// replay sends a request again and says at once as which: the debugger may stop in it.
func (o *owner) replay(ctx context.Context, log *requests.Log, id uint64, edited string) (any, error) {
	r, err := log.Replay(id, edited)
	if err != nil {
		return nil, err
	}
	o.all.Go(func() {
		if err := r.Run(ctx); err != nil {
			o.log.Debug("replay", zap.Uint64("request", id), zap.Error(err))
		}
	})
	return map[string]uint64{"id": r.ID}, nil
}

// followRequests tells the session of requests until the borrow is given back. It waits while the editor does not read.
func (o *owner) followRequests(ctx context.Context) {
	log := o.requests()
	if log == nil {
		return
	}
	subscription := log.Subscribe()
	o.all.Go(func() {
		defer subscription.Close()
		for {
			changed, omitted, err := subscription.Next(ctx, maxTold)
			if err != nil {
				return
			}
			o.out.room()
			o.inbox <- func(ctx context.Context) { o.do(ctx, o.session.requestsChanged(changed, omitted)) }
			wait(ctx, tellEvery)
		}
	})
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// lookInside says which requests the debuggee has.
func (o *owner) lookInside(ctx context.Context, a lookInside) {
	var entries []requests.Entry
	if log := o.requests(); log != nil {
		entries = log.Inside()
	}
	o.do(ctx, o.session.looked(a.answer, a.requestSeq, entries))
}
