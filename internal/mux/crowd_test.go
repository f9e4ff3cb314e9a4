package mux

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// TestManyStreamsThatAreReadLoseNothing : more streams send at once than there is memory for the windows that they begin with; each is read, if
// slowly. Others' streams that nobody reads are reset, and hold them up for no longer than a moment.
func TestManyStreamsThatAreReadLoseNothing(t *testing.T) {
	for _, neglected := range []int{0, 6} {
		t.Run(fmt.Sprintf("%d that are not read", neglected), func(t *testing.T) {
			const streams, size, budget = 32, 4 << 20, 4 << 20
			core, logs := observer.New(zapcore.WarnLevel)
			a, b := testkit.Pair(t)
			adapter, agent := sessions(t, a, b, Options{}, Options{Budget: budget, Log: zap.New(core)})
			results := make(chan error, streams)
			release := make(chan struct{})
			most := 0
			var mu sync.Mutex
			serve(t, agent, func(st *Stream) {
				defer st.Close()
				_ = st.Opened(wire.Answer{})
				if st.Header.Port == 1 {
					<-release
					return
				}
				total, chunk := 0, make([]byte, 64<<10)
				for {
					n, err := st.Read(chunk)
					total += n
					mu.Lock()
					most = max(most, unread(agent))
					mu.Unlock()
					if err != nil {
						if total != size || !errors.Is(err, io.EOF) {
							results <- fmt.Errorf("%d of %d bytes, %w", total, size, err)
						} else {
							results <- nil
						}
						return
					}
					if total%(1<<20) < n {
						<-time.After(50 * time.Millisecond)
					}
				}
			})
			var writers sync.WaitGroup
			for i := range neglected + streams {
				port := uint16(2)
				if i < neglected {
					port = 1
				}
				st, err := adapter.Open(t.Context(), wire.Header{Kind: wire.KindDial, Port: port}, nil)
				if err != nil {
					t.Fatal(err)
				}
				writers.Go(func() {
					_, _ = st.Write(make([]byte, size))
					_ = st.CloseWrite()
					_, _ = st.Read(make([]byte, 1))
					_ = st.Close()
				})
			}
			began := time.Now()
			for range streams {
				if err := <-results; err != nil {
					t.Error(err)
				}
			}
			if took := time.Since(began); took > 2*patience+5*time.Second {
				t.Errorf("took %s", took)
			}
			if most > budget/2 {
				t.Errorf("%d bytes were unread, %d may be", most, budget/2)
			}
			if n := logs.FilterMessageSnippet("stream reset").Len(); n > neglected {
				t.Errorf("%d streams were reset, %d were not read", n, neglected)
			}
			close(release)
			writers.Wait()
		})
	}
}
