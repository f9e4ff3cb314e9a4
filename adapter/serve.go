package adapter

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"go.uber.org/zap"

	"podstep.dev/adapter/dap"
	"podstep.dev/adapter/debugger"
)

const (
	// flushWithin is how long the editor has for reading the last messages.
	flushWithin = 500 * time.Millisecond
	// endWithin is how long everything has for ending. It takes a fraction of a second; this is for what hangs.
	endWithin = 5 * time.Second
)

var (
	// errEnded is the cause of a session's context when it ends in order.
	errEnded = errors.New("the session ended")
	// errStuck says that something did not end.
	errStuck = errors.New("the session did not end in order")
)

// owner does what the session decides. It alone calls the session, from run and close.
//
// Goroutines: read (blocks on the editor), write (the editor's outbox), at most one job (borrow, prepare or start; ends with the context), watch
// (waits for the borrow's end or the context), those of the running debugger, and one for what is being released. All of them report through
// inbox, which is served until the last of them is over; forsake takes that over from close when something hangs.
type owner struct {
	opts    Options
	log     *zap.Logger
	session *session
	editor  io.ReadWriteCloser
	out     *outbox
	inbox   chan func(context.Context)
	all     sync.WaitGroup
	timers  map[timer]*time.Timer
	cancel  context.CancelCauseFunc

	borrow     Borrow
	prepared   debugger.Prepared
	running    *instance
	stopped    time.Time // when the debugger said last that something stopped
	generation int       // of launches
	released   bool      // nothing begins any more
	finished   bool
	closing    bool // only the editor is still told
	err        error
}

// Serve is one debug session: it answers the editor until that disconnects or closes, ctx ends, or what it needs is lost, and then leaves
// nothing behind. It closes editor. The error is nil when the session ended as the person wanted, else what ended it: a *fault.Fault, or
// ctx's cause.
func Serve(ctx context.Context, editor io.ReadWriteCloser, opts Options) error {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Start == nil {
		opts.Start = startKept
	}
	if opts.Environ == nil {
		opts.Environ = os.Environ()
	}
	o := &owner{
		opts: opts, log: opts.Log.Named("session"), session: newSession(opts.Debugger), editor: editor, out: newOutbox(),
		inbox: make(chan func(context.Context)), timers: map[timer]*time.Timer{},
	}
	// What is under way ends in order after ctx ended, so it has a context of its own.
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	o.cancel = cancel
	defer cancel(errEnded)
	o.all.Go(o.read)
	o.all.Go(o.write)
	o.run(inner, ctx)
	o.close(inner)
	return o.err
}

// run serves the inbox until the session is finished.
func (o *owner) run(ctx, outer context.Context) {
	for !o.finished {
		select {
		case f := <-o.inbox:
			f(ctx)
		case <-outer.Done():
			o.do(ctx, o.session.signalled())
			o.err = context.Cause(outer)
		}
	}
}

// close undoes everything and waits for it, while what is still reported is taken.
func (o *owner) close(ctx context.Context) {
	o.closing = true
	for name := range o.timers {
		o.stopTimer(name)
	}
	o.release()
	o.all.Go(func() {
		flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushWithin)
		defer cancel()
		o.out.flush(flush)
		o.out.close()
		_ = o.editor.Close()
	})
	over := make(chan struct{})
	go func() { o.all.Wait(); close(over) }()
	late := time.NewTimer(endWithin)
	defer late.Stop()
	for {
		select {
		case f := <-o.inbox:
			f(ctx)
		case <-over:
			return
		case <-late.C:
			// The process must end all the same: then the keeper ends the tree, and the link's end gives the target back.
			o.log.Error("the session did not end", zap.Duration("within", endWithin), zap.ByteString("goroutines", stacks()))
			o.err = errors.Join(o.err, errStuck)
			go o.forsake(over)
			return
		}
	}
}

// forsake keeps what did not end in time from blocking on its reports, until it does end.
func (o *owner) forsake(over <-chan struct{}) {
	for {
		select {
		case <-o.inbox:
		case <-over:
			return
		}
	}
}

// stacks is what all goroutines do.
func stacks() []byte {
	b := make([]byte, 256<<10)
	return b[:runtime.Stack(b, true)]
}

// read takes the editor's messages.
func (o *owner) read() {
	reader := dap.NewReader(o.editor, o.opts.MaxMessage)
	for {
		raw, err := reader.Read()
		if err != nil {
			o.inbox <- func(context.Context) { o.editorGone(err) }
			return
		}
		m, err := dap.Parse(raw)
		if err != nil {
			o.log.Warn("skip a message of the editor", zap.Error(err))
			continue
		}
		o.inbox <- func(ctx context.Context) { o.do(ctx, o.session.fromEditor(m)) }
	}
}

func (o *owner) write() {
	if err := o.out.run(o.editor); err != nil {
		o.inbox <- func(context.Context) { o.editorGone(err) }
	}
}

// editorGone ends the session: nobody is there to see it.
func (o *owner) editorGone(err error) {
	if !o.finished && !errors.Is(err, io.EOF) {
		o.log.Info("the editor is gone", zap.Error(err))
	}
	if errors.Is(err, dap.ErrTooLarge) || errors.Is(err, dap.ErrHeader) {
		o.err = err
	}
	o.out.close()
	o.finished = true
}

// do does what the session decided.
func (o *owner) do(ctx context.Context, actions []action) {
	for _, a := range actions {
		if tell, ok := a.(toEditor); ok {
			o.out.put(tell.raw)
		}
		if o.closing {
			continue
		}
		switch a := a.(type) {
		case toDebugger:
			if o.running != nil {
				o.running.out.put(a.raw)
			}
		case beginBorrow:
			o.begin(ctx, a)
		case prepare:
			o.prepare(ctx, a)
		case startDebugger:
			o.start(ctx, a)
		case endDebugger:
			o.endDebugger()
		case pauseChanged:
			if o.borrow != nil {
				o.borrow.SetPaused(a.paused)
			}
		case giveBack:
			if b, ok := o.borrow.(yielder); ok {
				o.all.Go(func() { b.GiveBack(ctx) })
			}
		case report:
			o.report(ctx, a)
		case consult:
			o.consult(ctx, a)
		case followRequests:
			o.followRequests(ctx)
		case settle:
			o.settle(ctx, a)
		case lookInside:
			o.lookInside(ctx, a)
		case setTimer:
			o.setTimer(a)
		case stopTimer:
			o.stopTimer(a.name)
		case release:
			o.release()
		case finish:
			o.finished, o.err = true, a.cause
		}
	}
}
