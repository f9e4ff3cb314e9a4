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

// revoked obeys. It is remembered: a port that the program begins to serve later is not asked for.
func (b *Borrow) revoked(r place.Revocation) {
	b.revocation.Store(&r)
	ports, err := b.yield(context.WithoutCancel(b.ctx), nil, r.String())
	if err != nil {
		b.log.Debug("nothing is to be given back", zap.Error(err))
		b.say(fmt.Sprintf("%s of %s: this session steals nothing any more", r, b.target))
		return
	}
	b.say(fmt.Sprintf("%s of %s: the target answers %s; the rest of the session goes on", r, b.target, place.PortWords(ports)))
}
