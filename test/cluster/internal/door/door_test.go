package door

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must come, glance how long for what must not.
const (
	patience = 20 * time.Second
	glance   = 150 * time.Millisecond
)

// open runs a door before an echo server and returns it with a dialler through it.
func open(t *testing.T) (*Door, func() net.Conn) {
	t.Helper()
	echo := listen(t)
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	l := listen(t)
	d := &Door{Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", echo.Addr().String())
	}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- d.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the door ends with %v", err)
		}
	})
	return d, func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// hear returns what comes within limit, up to n bytes.
func hear(t *testing.T, c net.Conn, n int, limit time.Duration) (string, error) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, n)
	n, err := io.ReadFull(c, buf)
	return string(buf[:n]), err
}

func echoes(t *testing.T, c net.Conn, text string) {
	t.Helper()
	say(t, c, text)
	if got, err := hear(t, c, len(text), patience); got != text || err != nil {
		t.Fatalf("the echo of %q is %q, %v", text, got, err)
	}
}

func silent(t *testing.T, c net.Conn) {
	t.Helper()
	if got, err := hear(t, c, 1, glance); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%q, %v comes through; want silence", got, err)
	}
}

func TestDoorPassesHalfClose(t *testing.T) {
	_, dial := open(t)
	c := dial()
	say(t, c, "last words")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); string(got) != "last words" || err != nil {
		t.Fatalf("%q, %v comes back", got, err)
	}
}

func TestFreezeKeepsConnectionsAndWhatTheySay(t *testing.T) {
	d, dial := open(t)
	old := dial()
	echoes(t, old, "before")
	d.Freeze(time.Hour)
	say(t, old, "meanwhile")
	fresh := dial()
	say(t, fresh, "me too")
	silent(t, old)
	silent(t, fresh)
	d.Restore()
	if got, err := hear(t, old, len("meanwhile"), patience); got != "meanwhile" || err != nil {
		t.Errorf("after the frost comes %q, %v", got, err)
	}
	if got, err := hear(t, fresh, len("me too"), patience); got != "me too" || err != nil {
		t.Errorf("after the frost the new connection gets %q, %v", got, err)
	}
}

func TestFreezeEndsByItself(t *testing.T) {
	d, dial := open(t)
	c := dial()
	d.Freeze(glance)
	echoes(t, c, "later")
}

func TestSecondFreezeTakesTheFirstOnesPlace(t *testing.T) {
	d, dial := open(t)
	c := dial()
	echoes(t, c, "before")
	d.Freeze(glance / 3)
	d.Freeze(time.Hour)
	say(t, c, "x")
	silent(t, c)
}

func TestCutResetsOldAndNewConnections(t *testing.T) {
	d, dial := open(t)
	old := dial()
	echoes(t, old, "before")
	d.Cut(time.Hour)
	if _, err := hear(t, old, 1, patience); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the old connection ends with %v; want a reset", err)
	}
	// The reset may come while connect(2) is still on its way.
	fresh, err := net.Dial("tcp", old.RemoteAddr().String())
	if err == nil {
		_, err = hear(t, fresh, 1, patience)
		fresh.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the new connection ends with %v; want a reset", err)
	}
	d.Restore()
	echoes(t, dial(), "after")
}

func TestLoseSilencesOldConnectionsOnly(t *testing.T) {
	d, dial := open(t)
	old := dial()
	echoes(t, old, "before")
	d.Lose()
	say(t, old, "anybody?")
	silent(t, old)
	echoes(t, dial(), "here")
	d.Restore()
	silent(t, old)
}
