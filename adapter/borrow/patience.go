package borrow

import (
	"fmt"

	"go.uber.org/zap"

	"podstep.dev/internal/wire"
)

// tellPatience tells the agent when rules that were set since need longer to answer than its subscriptions say.
func (l *link) tellPatience() {
	b := l.borrow
	told := b.patience()
	for l.ctx.Err() == nil {
		_, changed := b.isPaused()
		if now := b.patience(); now > told {
			err := l.control.Patience(l.ctx, wire.PatienceParams{Hold: now})
			if err != nil && l.ctx.Err() == nil {
				l.log.Debug("tell of the patience", zap.Error(err))
				b.say(fmt.Sprintf("the agent of %s is older and waits 5 seconds for a held or delayed request, or as long as the session wanted at its start", l.place))
			}
			told = now
			continue
		}
		select {
		case <-changed:
		case <-l.ctx.Done():
		}
	}
}
