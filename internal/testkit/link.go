package testkit

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Pair returns the two ends of a unix socket pair. The test closes them at its end.
func Pair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := make([]*net.UnixConn, 2)
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "pair")
		conn, err := net.FileConn(file)
		if err != nil {
			t.Fatal(err)
		}
		_ = file.Close()
		t.Cleanup(func() { _ = conn.Close() })
		ends[i] = conn.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

// Delayed returns the two ends of a connection that carries every byte oneWay later, at any rate. The relay between them
// holds at most inFlight bytes each way; it ends, with its goroutines, when an end is closed or the test ends.
func Delayed(t testing.TB, oneWay time.Duration) (a, b *net.UnixConn) {
	t.Helper()
	a, relayA := Pair(t)
	relayB, b := Pair(t)
	var relays sync.WaitGroup
	hangUp := func() {
		_ = relayA.Close()
		_ = relayB.Close()
	}
	relays.Go(func() { delay(relayB, relayA, oneWay); hangUp() })
	relays.Go(func() { delay(relayA, relayB, oneWay); hangUp() })
	t.Cleanup(func() { hangUp(); relays.Wait() })
	return a, b
}

// Delay returns a connection that reaches far oneWay later, each way. It owns far; Close closes both and waits for the relay.
func Delay(far io.ReadWriteCloser, oneWay time.Duration) (io.ReadWriteCloser, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(err, far.Close())
	}
	d := &delayed{far: far}
	d.ReadWriteCloser, d.relay = os.NewFile(uintptr(fds[0]), "near"), os.NewFile(uintptr(fds[1]), "relay")
	d.relays.Go(func() { delay(far, d.relay, oneWay); d.hangUp() })
	d.relays.Go(func() { delay(d.relay, far, oneWay); d.hangUp() })
	return d, nil
}

// delayed is the near end of Delay. Its two relays end when either end is closed.
type delayed struct {
	io.ReadWriteCloser
	relay  *os.File
	far    io.ReadWriteCloser
	relays sync.WaitGroup
}

func (d *delayed) hangUp() {
	_ = syscall.Shutdown(int(d.relay.Fd()), syscall.SHUT_RDWR)
	_ = d.far.Close()
}

func (d *delayed) Close() error {
	d.hangUp()
	err := d.ReadWriteCloser.Close()
	d.relays.Wait()
	return errors.Join(err, d.relay.Close())
}

// Limits of a delaying relay: a chunk's size and how many are under way.
const (
	chunk    = 64 << 10
	inFlight = 64 << 20
)

type late struct {
	due  time.Time
	data []byte
}

func delay(dst io.Writer, src io.Reader, by time.Duration) {
	queue := make(chan late, inFlight/chunk)
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		defer close(done)
		timer := time.NewTimer(0)
		defer timer.Stop()
		for l := range queue {
			if wait := time.Until(l.due); wait > 0 {
				timer.Reset(wait)
				<-timer.C
			}
			if _, err := dst.Write(l.data); err != nil {
				return
			}
		}
	})
	defer writer.Wait()
	defer close(queue)
	for {
		buf := make([]byte, chunk)
		n, err := src.Read(buf)
		if n > 0 {
			select {
			case queue <- late{time.Now().Add(by), buf[:n]}:
			case <-done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}
