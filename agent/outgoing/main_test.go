//go:build linux

package outgoing

import (
	"context"
	"sync"
	"testing"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

func TestMain(m *testing.M) { testpod.Main(m, nil) }

// link makes a link whose agent's end serves dials and questions; ended gets one value for each stream that is over.
func link(t *testing.T, opts Options) (adapter *mux.Session, ended chan struct{}) {
	t.Helper()
	near, far := testkit.Pair(t)
	o := New(opts)
	ended = make(chan struct{}, 1024)
	started := make(chan error, 1)
	var agent *mux.Session
	go func() {
		var err error
		agent, err = mux.Start(t.Context(), far, mux.AgentSide, mux.Options{})
		started <- err
	}()
	adapter, err := mux.Start(t.Context(), near, mux.AdapterSide, mux.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() {
		_ = agent.Serve(func(st *mux.Stream) {
			if st.Header.Kind == wire.KindDNS {
				o.DNS(ctx, st)
			} else {
				o.Dial(ctx, st, st.Header.Address)
			}
			ended <- struct{}{}
		})
	})
	t.Cleanup(func() {
		cancel()
		_ = adapter.Close()
		_ = agent.Close()
		served.Wait()
	})
	return adapter, ended
}
