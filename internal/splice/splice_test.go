package splice

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"podstep.dev/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tcp returns the two ends of a TCP connection over loopback.
func tcp(t testing.TB) (a, b Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near.(*net.TCPConn), far.(*net.TCPConn)
}

func unixPair(t testing.TB) (a, b Conn) { return testkit.Pair(t) }

// hidden is a TCP connection that the kernel cannot splice.
type hidden struct{ Conn }

func (h hidden) Reset() { Reset(h.Conn) }

func hiddenTCP(t testing.TB) (a, b Conn) {
	a, b = tcp(t)
	return a, hidden{b}
}

// kinds are pairs of connections: the first end is the test's, the second is joined.
var kinds = map[string]func(testing.TB) (a, b Conn){"tcp": tcp, "unix": unixPair, "other": hiddenTCP}

// joined runs the test with a joint between x and y for each combination of kinds. ended gives Join's results.
func joined(t *testing.T, opts Options, test func(t *testing.T, x, y Conn, ended func() (Stats, error))) {
	t.Helper()
	for kindX, makeX := range kinds {
		for kindY, makeY := range kinds {
			t.Run(kindX+" "+kindY, func(t *testing.T) {
				x, a := makeX(t)
				b, y := makeY(t)
				if kindY == "other" {
					b, y = y, b
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var stats Stats
				var group errgroup.Group
				group.Go(func() (err error) {
					stats, err = Join(ctx, a, b, opts)
					return err
				})
				test(t, x, y, func() (Stats, error) {
					err := group.Wait()
					return stats, err
				})
			})
		}
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(b)
	return b
}

func TestJoinPassesHalfClose(t *testing.T) {
	joined(t, Options{}, func(t *testing.T, x, y Conn, ended func() (Stats, error)) {
		request, answer := random(3<<20), random(5<<20)
		var group errgroup.Group
		group.Go(func() error {
			_, err := x.Write(request)
			return errors.Join(err, x.CloseWrite())
		})
		got, err := io.ReadAll(y)
		if err != nil || !bytes.Equal(got, request) {
			t.Errorf("y read %d bytes, %v", len(got), err)
		}
		group.Go(func() error {
			// The other half goes on after the first has ended.
			_, err := y.Write(answer)
			return errors.Join(err, y.CloseWrite())
		})
		if got, err = io.ReadAll(x); err != nil || !bytes.Equal(got, answer) {
			t.Errorf("x read %d bytes, %v", len(got), err)
		}
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
		want := Stats{AToB: int64(len(request)), BToA: int64(len(answer))}
		if stats, err := ended(); err != nil || stats != want {
			t.Errorf("ended with %+v, %v, want %+v", stats, err, want)
		}
	})
}

func TestJoinPassesReset(t *testing.T) {
	for _, kind := range []string{"tcp", "other"} {
		for _, half := range []bool{false, true} {
			t.Run(kind, func(t *testing.T) {
				x, a := tcp(t)
				y, b := kinds[kind](t)
				var group errgroup.Group
				group.Go(func() error {
					_, err := Join(t.Context(), a, b, Options{})
					return err
				})
				if half {
					// Also when the other half is over.
					if err := y.CloseWrite(); err != nil {
						t.Fatal(err)
					}
					if _, err := x.Read(make([]byte, 1)); err != io.EOF {
						t.Fatal(err)
					}
				}
				if _, err := x.Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(y, make([]byte, 5)); err != nil {
					t.Fatal(err)
				}
				Reset(x)
				if _, err := y.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("y read %v, want ECONNRESET", err)
				}
				if err := group.Wait(); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("ended with %v, want ECONNRESET", err)
				}
			})
		}
	}
}

func TestJoinGoesOnWithSmallBuffersWhenThereAreNoLargeOnes(t *testing.T) {
	buffers := NewBuffers(large)
	if !buffers.take() || buffers.take() {
		t.Fatal("not exactly one large buffer is allowed")
	}
	joined(t, Options{Buffers: buffers}, func(t *testing.T, x, y Conn, ended func() (Stats, error)) {
		want := make([]byte, 1<<20)
		_, _ = rand.NewChaCha8([32]byte{1}).Read(want)
		var group errgroup.Group
		group.Go(func() error { _, err := x.Write(want); return errors.Join(err, x.CloseWrite()) })
		got, err := io.ReadAll(y)
		if err := errors.Join(err, group.Wait(), y.CloseWrite()); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		_, _ = ended()
	})
	buffers.give()
	if !buffers.take() {
		t.Error("the large buffer is not given back")
	}
	buffers.give()
	joined(t, Options{Buffers: buffers}, func(t *testing.T, x, y Conn, ended func() (Stats, error)) {
		go func() { _, _ = x.Write(make([]byte, 1<<20)); _ = x.CloseWrite() }()
		_, _ = io.Copy(io.Discard, y)
		_ = y.CloseWrite()
		_, _ = ended()
		if n := buffers.left.Load(); n != 1 {
			t.Errorf("%d large buffers left after a joint, want 1", n)
		}
	})
}

func TestJoinEndsAnIdleHalf(t *testing.T) {
	joined(t, Options{HalfClosedIdle: 300 * time.Millisecond}, func(t *testing.T, x, y Conn, ended func() (Stats, error)) {
		// Either half may be the one that is over.
		if err := y.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := x.Read(make([]byte, 1)); err != io.EOF {
			t.Fatal(err)
		}
		began := time.Now()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for time.Since(began) < 700*time.Millisecond {
			<-tick.C
			if _, err := x.Write([]byte("x")); err != nil {
				t.Fatalf("ended after %v though it was not idle: %v", time.Since(began), err)
			}
			if _, err := io.ReadFull(y, make([]byte, 1)); err != nil {
				t.Fatalf("ended after %v though it was not idle: %v", time.Since(began), err)
			}
		}
		if _, err := ended(); err == nil {
			t.Error("the idle joint ended cleanly, want an error")
		}
	})
}

func TestJoinWatchesOnlyHalfClosedOnes(t *testing.T) {
	joined(t, Options{HalfClosedIdle: 50 * time.Millisecond}, func(t *testing.T, x, y Conn, ended func() (Stats, error)) {
		timer := time.NewTimer(300 * time.Millisecond)
		<-timer.C
		if _, err := x.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(y, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		_, _ = x.CloseWrite(), y.CloseWrite()
		if stats, err := ended(); err != nil || stats.AToB != 1 {
			t.Errorf("ended with %+v, %v", stats, err)
		}
	})
}

func TestJoinEndsWithItsContext(t *testing.T) {
	for name, pair := range kinds {
		t.Run(name, func(t *testing.T) {
			x, a := pair(t)
			b, y := pair(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			over := errors.New("session over")
			var group errgroup.Group
			group.Go(func() error {
				_, err := Join(ctx, a, b, Options{})
				return err
			})
			if _, err := x.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(y, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			cancel(over)
			if err := group.Wait(); !errors.Is(err, over) {
				t.Errorf("ended with %v, want %v", err, over)
			}
			if name == "tcp" {
				if _, err := x.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("x read %v, want ECONNRESET", err)
				}
			}
		})
	}
}

// BenchmarkJoin compares Join with the kernel's own way, which io.Copy takes between two TCP connections.
func BenchmarkJoin(b *testing.B) {
	for name, join := range map[string]func(a, b Conn) error{
		"Join": func(x, y Conn) error {
			_, err := Join(b.Context(), x, y, Options{})
			return err
		},
		"splice": func(x, y Conn) error {
			_, err := io.Copy(y, x)
			return errors.Join(err, y.CloseWrite())
		},
	} {
		b.Run(name, func(b *testing.B) {
			x, left := tcp(b)
			y, right := tcp(b)
			var group errgroup.Group
			group.Go(func() error { return join(left, right) })
			group.Go(func() error { _, err := io.Copy(io.Discard, y); return errors.Join(err, y.CloseWrite()) })
			chunk := make([]byte, 64<<10)
			b.SetBytes(int64(len(chunk)))
			for b.Loop() {
				if _, err := x.Write(chunk); err != nil {
					b.Fatal(err)
				}
			}
			if err := errors.Join(x.CloseWrite(), group.Wait()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
