//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"podstep.dev/internal/mux"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
	"podstep.dev/test/bench/table"
)

// link measures the link alone: one stream of it against the bare unix socket pair that it runs over.
func (b *bench) link(ctx context.Context) error {
	for _, oneWay := range []time.Duration{0, 10 * time.Millisecond} {
		rounds, size := b.n, 1<<30
		if oneWay > 0 {
			rounds, size = b.n/40, 256<<20
		}
		if b.n < 1000 {
			size /= 4
		}
		var far string
		if oneWay > 0 {
			far = fmt.Sprintf(", %v longer each way", oneWay)
		}
		var ping [][]time.Duration
		var bulk []float64
		for _, open := range []opener{bare, stream} {
			d, err := pingPong(ctx, open, oneWay, rounds)
			if err != nil {
				return fmt.Errorf("ping-pong: %w", err)
			}
			rate, err := pour(ctx, open, oneWay, size)
			if err != nil {
				return fmt.Errorf("bulk: %w", err)
			}
			ping, bulk = append(ping, d), append(bulk, rate)
		}
		aim := "over 300 MB/s"
		if oneWay > 0 {
			aim = "over 40 MB/s"
		}
		table.Latencies("link: 64 bytes there and back"+far, ping[0], ping[1], "")
		table.Rates("link: one stream"+far, bulk[0], bulk[1], aim)
	}
	return nil
}

// opener opens a connection whose far end is served by serve, over a socket pair that is oneWay longer; end ends it.
type opener = func(ctx context.Context, oneWay time.Duration, serve func(io.ReadWriteCloser)) (conn io.ReadWriteCloser, end func() error, err error)

// pair is a socket pair, its first end oneWay away.
func pair(oneWay time.Duration) (near io.ReadWriteCloser, far *net.UnixConn, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "pair")
		conn, err := net.FileConn(file)
		if err != nil {
			return nil, nil, errors.Join(err, file.Close())
		}
		_ = file.Close()
		ends[i] = conn.(*net.UnixConn)
	}
	if oneWay == 0 {
		return ends[0], ends[1], nil
	}
	near, err = testkit.Delay(ends[0], oneWay)
	return near, ends[1], err
}

// bare is the socket pair itself.
func bare(_ context.Context, oneWay time.Duration, serve func(io.ReadWriteCloser)) (io.ReadWriteCloser, func() error, error) {
	near, far, err := pair(oneWay)
	if err != nil {
		return nil, nil, err
	}
	var group errgroup.Group
	group.Go(func() error { serve(far); return nil })
	return near, func() error { return errors.Join(near.Close(), group.Wait()) }, nil
}

// stream is one stream of a link over the socket pair.
func stream(ctx context.Context, oneWay time.Duration, serve func(io.ReadWriteCloser)) (io.ReadWriteCloser, func() error, error) {
	near, far, err := pair(oneWay)
	if err != nil {
		return nil, nil, err
	}
	var agent *mux.Session
	var group errgroup.Group
	group.Go(func() (err error) {
		agent, err = mux.Start(ctx, far, mux.AgentSide, mux.Options{})
		return err
	})
	adapter, err := mux.Start(ctx, near, mux.AdapterSide, mux.Options{})
	if err := errors.Join(err, group.Wait()); err != nil {
		return nil, nil, err
	}
	group.Go(func() error {
		_ = agent.Serve(func(st *mux.Stream) {
			_ = st.Opened(wire.Answer{})
			serve(st)
		})
		return nil
	})
	end := func() error { return errors.Join(adapter.Close(), agent.Close(), group.Wait()) }
	st, err := adapter.Open(ctx, wire.Header{Kind: wire.KindDial}, nil)
	if err != nil {
		return nil, nil, errors.Join(err, end())
	}
	return st, end, nil
}

// pingPong times 64 bytes there and back.
func pingPong(ctx context.Context, open opener, oneWay time.Duration, rounds int) (took []time.Duration, err error) {
	conn, end, err := open(ctx, oneWay, func(far io.ReadWriteCloser) {
		_, _ = io.CopyBuffer(struct{ io.Writer }{far}, struct{ io.Reader }{far}, make([]byte, 64))
		_ = far.Close()
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	message := make([]byte, 64)
	for i := range rounds + rounds/10 {
		began := time.Now()
		if _, err := conn.Write(message); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(conn, message); err != nil {
			return nil, err
		}
		if i >= rounds/10 {
			took = append(took, time.Since(began))
		}
	}
	return took, nil
}

// pour times size bytes to the far end, the acknowledgement of the last one included, and returns MB/s.
func pour(ctx context.Context, open opener, oneWay time.Duration, size int) (rate float64, err error) {
	conn, end, err := open(ctx, oneWay, func(far io.ReadWriteCloser) {
		buf := make([]byte, 64<<10)
		for left := size; left > 0; {
			n, err := far.Read(buf)
			if err != nil {
				return
			}
			left -= n
		}
		_, _ = far.Write([]byte{1})
	})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, end()) }()
	chunk := make([]byte, 64<<10)
	began := time.Now()
	for left := size; left > 0; left -= len(chunk) {
		if _, err := conn.Write(chunk); err != nil {
			return 0, err
		}
	}
	if _, err := io.ReadFull(conn, chunk[:1]); err != nil {
		return 0, err
	}
	return float64(size) / 1e6 / time.Since(began).Seconds(), nil
}
