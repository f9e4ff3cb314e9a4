package mux

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// unread is what a session's readers have not read.
func unread(s *Session) int {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	return s.budget.unread
}

func TestUnreadBytesStayWithinTheBudget(t *testing.T) {
	const budget = 4 << 20
	core, logs := observer.New(zapcore.WarnLevel)
	a, b := testkit.Pair(t)
	adapter, agent := sessions(t, a, b, Options{}, Options{Budget: budget, Log: zap.New(core)})
	// Nobody reads these streams, and their writers never stop.
	var evicted, most atomic.Int64
	release := make(chan struct{})
	serve(t, agent, func(st *Stream) {
		if st.Header.Port == 1 {
			echo(st)
			return
		}
		_ = st.Opened(wire.Answer{})
		<-release
		if _, err := st.Read(make([]byte, 1)); errors.Is(err, syscall.ECONNRESET) {
			evicted.Add(1)
		}
		_ = st.Close()
	})
	var written atomic.Int64
	results := make(chan error)
	const stuck = 30
	for range stuck {
		st := mustOpen(t, adapter, nil)
		go func() {
			chunk := make([]byte, 64<<10)
			for {
				n, err := st.Write(chunk)
				written.Add(int64(n))
				most.Store(max(most.Load(), int64(unread(agent))))
				if err != nil {
					_ = st.Close()
					results <- err
					return
				}
			}
		}()
	}
	testkit.Eventually(t, "budget used up", func() bool { return logs.Len() > 0 })
	// The link is not held up.
	st, err := adapter.Open(t.Context(), wire.Header{Kind: wire.KindDial, Port: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := random(1 << 20)
	go func() { _, _ = st.Write(want); _ = st.CloseWrite() }()
	if got, err := io.ReadAll(st); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the stream that is read: %d bytes, %v", len(got), err)
	}
	_ = st.Close()
	if n := most.Load(); n > budget/2 {
		t.Errorf("%d bytes unread, at most %d allowed", n, budget/2)
	}
	close(release)
	for range stuck {
		if err := <-results; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("writer: %v, want ECONNRESET", err)
		}
	}
	if evicted.Load() == 0 || logs.FilterMessageSnippet("stream reset").Len() < int(evicted.Load()) {
		t.Errorf("%d streams evicted, %d warnings", evicted.Load(), logs.Len())
	}
	gone(t, adapter, agent)
}

func TestMemoryOfUnreadStreamsIsBounded(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const budget = 16 << 20
	a, b := testkit.Pair(t)
	adapter, agent := sessions(t, a, b, Options{}, Options{Budget: budget})
	release := make(chan struct{})
	serve(t, agent, func(st *Stream) { _ = st.Opened(wire.Answer{}); <-release; _ = st.Close() })
	for range 100 {
		st := mustOpen(t, adapter, nil)
		go func() {
			chunk := make([]byte, 64<<10)
			for {
				if _, err := st.Write(chunk); err != nil {
					_ = st.Close()
					return
				}
			}
		}()
	}
	// All windows are full, or the streams evicted.
	var last int
	testkit.Eventually(t, "nothing moves", func() bool {
		timer := time.NewTimer(100 * time.Millisecond)
		<-timer.C
		now := unread(agent)
		moved := now != last
		last = now
		return !moved && now > 0
	})
	runtime.GC()
	runtime.ReadMemStats(&after)
	// 100 writers hold a chunk each, and both sessions what they need themselves.
	const others = 100*(64<<10) + 8<<20
	if grown := int(after.HeapAlloc) - int(before.HeapAlloc); grown > budget+others {
		t.Errorf("the heap grew by %d bytes, at most %d allowed; %d unread", grown, budget+others, last)
	}
	close(release)
}

func TestWindowGrowsOnlyForStreamsThatAreRead(t *testing.T) {
	adapter, agent := linked(t, 0, Options{})
	window := func(id uint32) int {
		agent.budget.mu.Lock()
		defer agent.budget.mu.Unlock()
		if a := agent.budget.accounts[id]; a != nil {
			return a.window
		}
		return 0
	}
	read := make(chan int)
	serve(t, agent, func(st *Stream) {
		_ = st.Opened(wire.Answer{})
		for n := range read {
			_, _ = io.ReadFull(st, make([]byte, n))
		}
		_ = st.Close()
	})
	st := mustOpen(t, adapter, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = st.Write(make([]byte, 12<<20))
	}()
	full := func(what string, n int) {
		testkit.Eventually(t, what, func() bool { return unread(agent) >= n })
	}
	full("first window full", floor-wire.MaxFrame)
	if w := window(st.StreamID()); w != floor {
		t.Errorf("unread stream has a window of %d, want %d", w, floor)
	}
	read <- 8 << 20
	// A window is filled up when half of it is free.
	full("grown window half full", 2<<20-64<<10)
	if w := window(st.StreamID()); w != 4<<20 {
		t.Errorf("stream that was read has a window of %d, want %d", w, 4<<20)
	}
	read <- 4 << 20
	close(read)
	<-done
	_ = st.Close()
	gone(t, adapter, agent)
}

// TestManyWideStreamsLoseNothing : streams that were read fast, and then all are not read for a moment, have no more on their way
// than may be unread.
func TestManyWideStreamsLoseNothing(t *testing.T) {
	const streams, size = 12, 8 << 20
	shared := NewBudget(16<<20, 2*streams)
	adapter, agent := pair(t, shared)
	var reading sync.WaitGroup
	reading.Add(streams)
	release := make(chan struct{})
	results := make(chan error, streams)
	serve(t, agent, func(st *Stream) {
		_ = st.Opened(wire.Answer{})
		_, err := io.CopyN(io.Discard, st, size/2)
		reading.Done()
		<-release
		rest, restErr := io.Copy(io.Discard, st)
		if err = errors.Join(err, restErr); err == nil && rest != size/2 {
			err = fmt.Errorf("%d of %d bytes came", size/2+rest, size)
		}
		results <- err
		_ = st.Close()
	})
	var written atomic.Int64
	for range streams {
		st := mustOpen(t, adapter, nil)
		go func() {
			for chunk, left := make([]byte, 64<<10), size; left > 0; left -= len(chunk) {
				if _, err := st.Write(chunk); err != nil {
					break
				}
				written.Add(int64(len(chunk)))
			}
			_ = st.CloseWrite()
			_, _ = st.Read(make([]byte, 1))
			_ = st.Close()
		}()
	}
	reading.Wait()
	last, same := int64(0), 0
	testkit.Eventually(t, "nothing more may be sent", func() bool {
		if now := written.Load(); now != last {
			last, same = now, 0
		}
		same++
		return same > 20
	})
	close(release)
	for range streams {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

func TestResetStreamKeepsNothingUnread(t *testing.T) {
	adapter, agent := linked(t, 0, Options{})
	there := make(chan *Stream, 1)
	serve(t, agent, func(st *Stream) { _ = st.Opened(wire.Answer{}); there <- st })
	for name, end := range map[string]func(near, far *Stream){
		"reset here":               func(_, far *Stream) { far.Reset() },
		"reset there, closed here": func(near, far *Stream) { near.Reset(); readReset(t, far); _ = far.Close() },
		"ended there, closed here": func(near, far *Stream) { _ = near.CloseWrite(); _ = far.Close() },
	} {
		st := mustOpen(t, adapter, nil)
		if _, err := st.Write(make([]byte, 200<<10)); err != nil {
			t.Fatal(err)
		}
		far := <-there
		testkit.Eventually(t, name+": arrived", func() bool { return unread(agent) >= 200<<10 })
		end(st, far)
		if n := unread(agent); n != 0 {
			t.Errorf("%s: %d bytes unread", name, n)
		}
		st.Reset()
	}
	gone(t, adapter, agent)
}

// readReset waits until the stream hears of the other end's reset, reading a little of what came before.
func readReset(t *testing.T, st *Stream) {
	t.Helper()
	testkit.Eventually(t, "reset heard", st.isReset)
	if n, err := st.Read(make([]byte, 10)); n != 10 || err != nil {
		t.Errorf("read %d, %v, want what came before the reset", n, err)
	}
}
