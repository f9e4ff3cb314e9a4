package adapter

import (
	"context"
	"errors"

	"podstep.dev/adapter/borrow"
	"podstep.dev/adapter/dap"
)

// asked shows a question from any goroutine.
func (o *owner) asked(q borrow.Question) {
	o.inbox <- func(ctx context.Context) { o.do(ctx, o.session.asked(q)) }
}

// yielder is a borrow that can give ports back.
type yielder interface {
	Yield(ctx context.Context, ports []uint16) ([]uint16, error)
	Keep(ctx context.Context, id uint64) int
	// GiveBack gives all ports back without a word: the session ends.
	GiveBack(ctx context.Context)
}

// settle answers podstep/yield and podstep/keep. The agents take their time, so it does not hold up the session.
func (o *owner) settle(ctx context.Context, a settle) {
	b, ok := o.borrow.(yielder)
	if !ok {
		o.do(ctx, o.session.consulted(a.request, nil, errors.New("nothing is borrowed at this moment")))
		return
	}
	o.all.Go(func() {
		body, err := settled(ctx, b, a.request)
		o.inbox <- func(ctx context.Context) { o.do(ctx, o.session.consulted(a.request, body, err)) }
	})
}

// settled is the answer's body.
func settled(ctx context.Context, b yielder, m dap.Message) (any, error) {
	var which struct {
		Ports []uint16 `json:"ports"`
		ID    uint64   `json:"id"`
	}
	if err := m.Decode("arguments", &which); err != nil {
		return nil, err
	}
	if m.Command == "podstep/keep" {
		return map[string]int{"questions": b.Keep(ctx, which.ID)}, nil
	}
	ports, err := b.Yield(ctx, which.Ports)
	if err != nil {
		return nil, err
	}
	return map[string][]uint16{"ports": ports}, nil
}
