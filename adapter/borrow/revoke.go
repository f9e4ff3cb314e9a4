package borrow

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"podstep.dev/adapter/place"
)

// obey gives all stolen ports back when the target's owners take the right to them away. It returns with the borrow.
func (b *Borrow) obey(revocations <-chan place.Revocation) {
	for {
		select {
		case r, more := <-revocations:
			if !more {
				return
			}
			b.revoked(r)
		case <-b.ctx.Done():
			return
		}
	}
}

// revoked obeys. A steal that cannot be ended in order ends with the session.
func (b *Borrow) revoked(r place.Revocation) {
	b.mu.Lock()
	holds := len(b.ports) > 0
	b.mu.Unlock()
	b.revocation.Store(&r)
	if !holds {
		b.say(fmt.Sprintf("%s of %s: this session steals nothing any more", r, b.target))
		return
	}
	ports, err := b.yield(context.WithoutCancel(b.ctx), nil, r.String())
	if err != nil {
		b.log.Warn("what was revoked could not be given back in order", zap.Error(err))
		b.end(r.Fault(b.target.String()))
		return
	}
	b.say(fmt.Sprintf("%s of %s: the target answers %s; the rest of the session goes on", r, b.target, portWords(ports)))
}
