package adapter

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"podstep.dev/adapter/borrow"
	"podstep.dev/adapter/dap"
	"podstep.dev/adapter/debugger"
	"podstep.dev/internal/fault"
)

// begin borrows, once it is sure that there is a debugger to borrow for.
func (o *owner) begin(ctx context.Context, a beginBorrow) {
	o.all.Go(func() {
		launch := debugger.Launch{Attributes: a.attributes, Environ: o.opts.Environ, Say: o.print}
		if err := a.debugger.Check(ctx, launch); err != nil {
			o.inbox <- func(ctx context.Context) { o.begun(ctx, nil, err) }
			return
		}
		b, err := o.opts.Begin(ctx, Wish{Mirror: a.mirror, OwnEnv: a.attributes.EnvNames(), Say: o.say, Held: o.tellHeld, Asked: o.asked})
		o.inbox <- func(ctx context.Context) { o.begun(ctx, b, err) }
	})
}

// say shows progress from any goroutine.
func (o *owner) say(text string) {
	o.inbox <- func(ctx context.Context) { o.do(ctx, o.session.said(text)) }
}

// print shows output from any goroutine.
func (o *owner) print(category, text string) {
	o.inbox <- func(ctx context.Context) { o.do(ctx, o.session.printed(category, text)) }
}

func (o *owner) begun(ctx context.Context, b Borrow, err error) {
	switch {
	case err != nil:
		o.do(ctx, o.session.failed(fault.As(err)))
	case o.released:
		o.giveBack(b)
	default:
		o.borrow = b
		o.all.Go(func() { o.watch(ctx, b) })
		o.do(ctx, o.session.borrowed())
	}
}

// watch reports when the borrow ends by itself.
func (o *owner) watch(ctx context.Context, b Borrow) {
	select {
	case <-b.Done():
		o.inbox <- func(ctx context.Context) { o.do(ctx, o.session.lost(fault.As(b.Err()))) }
	case <-ctx.Done():
	}
}

// report answers podstep/status with what the session and the borrow say of themselves.
func (o *owner) report(ctx context.Context, a report) {
	var of any
	if b, ok := o.borrow.(interface{ Status() borrow.Status }); ok {
		of = b.Status()
	}
	o.do(ctx, o.session.reported(a.request, of))
}

// prepare readies a launch beside the running debugger, if there is one.
func (o *owner) prepare(ctx context.Context, a prepare) {
	o.generation++
	launch := debugger.Launch{
		Attributes: a.attributes, Dir: o.borrow.SessionDir(), Generation: o.generation, Environ: o.opts.Environ, Say: o.print,
	}
	o.all.Go(func() {
		p, err := a.debugger.Prepare(ctx, launch)
		o.inbox <- func(ctx context.Context) {
			if err != nil {
				o.do(ctx, o.session.failed(fault.As(err)))
				return
			}
			o.prepared = p
			o.do(ctx, o.session.prepared())
		}
	})
}

// start starts the debugger for what was prepared last.
func (o *owner) start(ctx context.Context, a startDebugger) {
	dir := o.borrow.SessionDir()
	socket := filepath.Join(dir, fmt.Sprintf("dap-%d.sock", o.generation))
	w := a.debugger.Wrap(o.prepared, debugger.Interception{Command: o.borrow.Command, Env: o.borrow.Env(), Socket: socket})
	var r *instance
	h := heard{
		room:  o.out.room,
		print: o.print,
		message: func(m dap.Message) {
			o.inbox <- func(ctx context.Context) {
				if o.running == r {
					if m.Event == "stopped" {
						o.stopped = time.Now()
					}
					o.do(ctx, o.session.fromDebugger(m))
				}
			}
		},
		gone: func() {
			o.inbox <- func(ctx context.Context) {
				if o.running == r {
					o.running = nil
					o.do(ctx, o.session.debuggerGone())
				}
			}
		},
	}
	o.all.Go(func() {
		var err error
		r, err = startInstance(ctx, o.opts, w, socket, dir, h)
		o.inbox <- func(ctx context.Context) { o.started(ctx, a, r, w, err) }
	})
}

func (o *owner) started(ctx context.Context, a startDebugger, r *instance, w debugger.Wrapped, err error) {
	if err != nil {
		o.do(ctx, o.session.failed(fault.As(startFault(a.debugger.Name(), err))))
		return
	}
	o.running = r
	r.listen(o.opts.MaxMessage)
	o.all.Go(func() { <-r.done })
	if o.released {
		o.running = nil
		o.all.Go(r.end)
		return
	}
	o.log.Info("debugger started", zap.String("debugger", a.debugger.Name()), zap.Int("launch", o.generation))
	o.do(ctx, o.session.started(w.Attributes))
}

// startFault keeps a fault and makes anything else one.
func startFault(name string, err error) error {
	return fault.Or(err, fault.DebuggerStart, name+" could not be started")
}

// endDebugger ends the running debugger; gone follows.
func (o *owner) endDebugger() {
	if r := o.running; r != nil {
		o.all.Go(r.end)
	}
}

// release gives everything back and lets nothing begin any more. The target comes first: it serves again while the debuggee ends.
func (o *owner) release() {
	if o.released {
		return
	}
	o.released = true
	o.cancel(errEnded)
	if b := o.borrow; b != nil {
		o.borrow = nil
		o.giveBack(b)
	}
	o.endDebugger()
	o.running = nil
}

func (o *owner) giveBack(b Borrow) {
	o.all.Go(func() {
		if err := b.Close(); err != nil {
			o.log.Warn("give the target back", zap.Error(err))
		}
	})
}

// setTimer replaces a timer.
func (o *owner) setTimer(a setTimer) {
	o.stopTimer(a.name)
	o.all.Add(1)
	var t *time.Timer
	t = time.AfterFunc(a.after, func() {
		defer o.all.Done()
		o.inbox <- func(ctx context.Context) {
			if o.timers[a.name] == t { // else it was replaced or stopped while this was on its way
				delete(o.timers, a.name)
				o.do(ctx, o.session.fired(a.name))
			}
		}
	})
	o.timers[a.name] = t
}

func (o *owner) stopTimer(name timer) {
	if t := o.timers[name]; t != nil {
		delete(o.timers, name)
		if t.Stop() {
			o.all.Done()
		}
	}
}
