package mux

import (
	"context"
	"errors"
	"io"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"podstep.dev/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sessions starts both ends over a and b; the test ends them.
func sessions(t testing.TB, a, b io.ReadWriteCloser, adapterOpts, agentOpts Options) (adapter, agent *Session) {
	t.Helper()
	var group errgroup.Group
	group.Go(func() (err error) {
		adapter, err = Start(context.Background(), a, AdapterSide, adapterOpts)
		return err
	})
	group.Go(func() (err error) {
		agent, err = Start(context.Background(), b, AgentSide, agentOpts)
		return err
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(adapter.Close(), agent.Close()); err != nil {
			t.Error(err)
		}
	})
	return adapter, agent
}

// drain opens the stream, reads it to its end and then ends it.
func drain(st *Stream) {
	_ = st.Opened(wire.Answer{})
	_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, st, make([]byte, 64<<10))
	_ = st.Close()
}

// echo opens the stream and answers with what it reads.
func echo(st *Stream) {
	_ = st.Opened(wire.Answer{})
	_, _ = io.Copy(st, st)
	_ = st.Close()
}
