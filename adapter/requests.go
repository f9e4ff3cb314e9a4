package adapter

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/borrow/tunnel"
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
		requests.Release
		Rules json.RawMessage `json:"rules"`
		Add   json.RawMessage `json:"add"`
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
	case "podstep/release":
		return map[string]any{}, log.Control().Release(which.ID, which.Release)
	case "podstep/rules":
		return changeRules(log.Control(), which.Rules, which.Add)
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

// changeRules replaces the rules, if there is a list, puts one before them, if there is one, and lists them.
func changeRules(c requests.Control, list, add json.RawMessage) (any, error) {
	if list != nil {
		if err := c.SetRules(list); err != nil {
			return nil, err
		}
	}
	if add != nil {
		if err := c.AddRule(add); err != nil {
			return nil, err
		}
	}
	return map[string]any{"rules": c.Rules()}, nil
}

// tellHeld tells of a request that a rule holds, from any goroutine; how is empty as long as it does.
func (o *owner) tellHeld(h tunnel.Held, how tunnel.Release) {
	o.inbox <- func(ctx context.Context) { o.do(ctx, o.session.requestHeld(h, how)) }
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

// lookInside says which requests the debuggee has, as far as a thread may have stopped in them: what was delivered after the last stop waits in
// a socket, or is another thread's that runs.
func (o *owner) lookInside(ctx context.Context, a lookInside) {
	var entries []requests.Entry
	if log := o.requests(); log != nil {
		entries = slices.DeleteFunc(log.Inside(), func(e requests.Entry) bool { return !o.stopped.IsZero() && e.Delivered.After(o.stopped) })
	}
	o.do(ctx, o.session.looked(a, entries))
}
