package adapter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"podstep.dev/adapter/dap"
	"podstep.dev/adapter/debugger"
)

const (
	// dialWithin is how long a debugger may take until it dials.
	dialWithin = 20 * time.Second
	// speakWithin is how long the messages of a debugger that exited may take to arrive.
	speakWithin = 500 * time.Millisecond
)

// heard is where a debugger reports. Each may block until its owner has taken the report.
type heard struct {
	message func(dap.Message)
	print   func(category, text string)
	gone    func()
	room    func() // blocks while the editor does not read
}

// instance is one started debugger: its process tree, the connection to it, and its own output.
//
// Goroutines: exit (blocks on the process) and one pump for each output stream (on its pipe) from the start; from listen on read (on the
// connection), write (on the outbox and the connection) and watch, which waits for the others and reports gone as its last deed. end unblocks
// them all.
type instance struct {
	log    *zap.Logger
	tree   Tree
	conn   io.ReadWriteCloser
	out    *outbox
	heard  heard
	pipes  pipes
	pumps  sync.WaitGroup
	exited chan struct{}
	done   chan struct{} // closed when listen's goroutines are over
}

// startInstance starts a debugger and connects to it. The caller calls listen or end.
func startInstance(ctx context.Context, opts Options, w debugger.Wrapped, socket, sessionDir string, h heard) (*instance, error) {
	r := &instance{log: opts.Log.Named("debugger"), out: newOutbox(), heard: h, exited: make(chan struct{}), done: make(chan struct{})}
	var listener *net.UnixListener
	if w.Dials {
		var err error
		if listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"}); err != nil {
			return nil, fmt.Errorf("listen for the debugger: %w", err)
		}
		defer func() { _ = listener.Close() }()
	}
	p, err := r.pipes.make(w.Dials)
	if err != nil {
		return nil, errors.Join(err, r.pipes.closeOurs(), r.pipes.closeTheirs())
	}
	p.Argv, p.Env, p.Dir, p.SessionDir = w.Argv, opts.Environ, w.Dir, sessionDir
	r.tree, err = opts.Start(ctx, p)
	if err := errors.Join(err, r.pipes.closeTheirs()); err != nil {
		return nil, errors.Join(fmt.Errorf("start the debugger: %w", err), r.pipes.closeOurs())
	}
	go r.exit()
	for _, s := range r.pipes.streams {
		r.pumps.Go(func() { pump(s.ours, s.category, h) })
	}
	if listener == nil {
		r.conn = r.pipes.dap
		return r, nil
	}
	if r.conn, err = r.accept(ctx, listener); err != nil {
		r.end()
		r.settle()
		return nil, err
	}
	return r, nil
}

// accept waits until the debugger dials.
func (r *instance) accept(ctx context.Context, l *net.UnixListener) (io.ReadWriteCloser, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialWithin, fmt.Errorf("the debugger did not dial within %s", dialWithin))
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	accepted := make(chan struct{})
	defer close(accepted)
	go func() {
		select {
		case <-r.exited:
			_ = l.Close()
		case <-accepted:
		}
	}()
	conn, err := l.Accept()
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	default:
		return nil, errors.New("the debugger ended before it spoke")
	}
}

// listen begins to carry messages.
func (r *instance) listen(limit int) {
	var both sync.WaitGroup
	both.Go(func() { r.read(limit) })
	both.Go(func() {
		if err := r.out.run(r.conn); err != nil {
			r.log.Debug("write", zap.Error(err))
			_ = r.conn.Close()
		}
	})
	go r.watch(&both)
}

func (r *instance) read(limit int) {
	defer r.out.close()
	reader := dap.NewReader(r.conn, limit)
	for {
		raw, err := reader.Read()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrClosed) {
				r.log.Warn("the debugger's messages end", zap.Error(err))
			}
			return
		}
		m, err := dap.Parse(raw)
		if err != nil {
			r.log.Warn("skip a message of the debugger", zap.Error(err))
			continue
		}
		r.heard.room()
		r.heard.message(m)
	}
}

// watch ends the tree when the connection or the process ends, and reports gone when all of it was told.
func (r *instance) watch(both *sync.WaitGroup) {
	defer close(r.done)
	carried := make(chan struct{})
	go func() { both.Wait(); close(carried) }()
	select {
	case <-carried:
	case <-r.exited:
		// What it said last may still be on its way; but something it started may hold the connection open for ever.
		late := time.AfterFunc(speakWithin, func() { _ = r.conn.Close() })
		<-carried
		late.Stop()
	}
	r.end()
	r.settle()
	r.heard.gone()
}

// end ends the debugger and all that it started, at once. It may be called more than once, and by several.
func (r *instance) end() {
	if r.conn != nil {
		_ = r.conn.Close()
	}
	if err := r.tree.Kill(); err != nil {
		r.log.Warn("end the debugger", zap.Error(err))
	}
	<-r.exited
}

// settle waits until what the debugger and the debuggee printed last is told. Something that outlived them may hold the pipes.
func (r *instance) settle() {
	late := time.AfterFunc(speakWithin, func() { _ = r.pipes.closeOurs() })
	r.pumps.Wait()
	late.Stop()
	_ = r.pipes.closeOurs()
}

// exit waits for the process.
func (r *instance) exit() {
	err := r.tree.Wait()
	r.log.Debug("the debugger exited", zap.NamedError("status", err))
	close(r.exited)
}
