//go:build linux

package incoming

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

// targetOf serves each connection of the target by handle, which need not close it.
func targetOf(t *testing.T, addr string, handle func(*net.TCPConn)) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				handle(c.(*net.TCPConn))
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); group.Wait() })
	return l
}

func TestClientsResetReachesTheOtherEnd(t *testing.T) {
	client := testpod.NewClient(t)
	ends := make(chan error, 2)
	readAll := func(r io.Reader) {
		_, err := io.Copy(io.Discard, r)
		ends <- err
	}
	targetOf(t, testpod.Pod4+":80", func(c *net.TCPConn) { _, _ = io.WriteString(c, "ready"); readAll(c) })
	f := startFarEnd(t, Options{})
	f.steal(t, 80)
	for name, handle := range map[string]func(*mux.Stream){
		"passed": refuse,
		"taken": func(st *mux.Stream) {
			_ = st.Opened(wire.Answer{})
			_, _ = io.WriteString(st, "ready")
			readAll(st)
			st.Reset()
		},
	} {
		f.on(handle)
		c := dial(t, client, testpod.Pod4+":80")
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = c.SetLinger(0)
		_ = c.Close()
		if err := <-ends; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: the other end read %v", name, err)
		}
	}
}

func TestServersResetReachesTheClient(t *testing.T) {
	client := testpod.NewClient(t)
	targetOf(t, testpod.Pod4+":80", func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 16))
		_ = c.SetLinger(0)
	})
	f := startFarEnd(t, Options{})
	f.steal(t, 80)
	for name, handle := range map[string]func(*mux.Stream){
		"passed": refuse,
		"taken": func(st *mux.Stream) {
			_ = st.Opened(wire.Answer{})
			_, _ = st.Read(make([]byte, 16))
			st.Reset()
		},
	} {
		f.on(handle)
		if _, err := say(t, dial(t, client, testpod.Pod4+":80"), "hello"); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: client read %v", name, err)
		}
	}
}

func TestTargetThatIsDownResetsItsClients(t *testing.T) {
	client := testpod.NewClient(t)
	f := startFarEnd(t, Options{})
	f.on(refuse)
	f.steal(t, 80)
	c, err := client.Dial(testpod.Pod4 + ":80")
	if err == nil {
		_, err = say(t, c, "hello")
	}
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("client is told %v", err)
	}
}

// TestBigBodiesArriveWhole sends a body there and back at the same time, larger than all buffers.
func TestBigBodiesArriveWhole(t *testing.T) {
	const size = 48 << 20
	client := testpod.NewClient(t)
	body := make([]byte, size)
	source := rand.NewChaCha8([32]byte{})
	_, _ = source.Read(body)
	sum := fmt.Sprintf("%x", sha256.Sum256(body))
	back := func(c io.ReadWriter) { _, _ = io.Copy(c, c) }
	targetOf(t, testpod.Pod4+":80", func(c *net.TCPConn) { back(c) })
	f := startFarEnd(t, Options{})
	f.steal(t, 80)
	for name, handle := range map[string]func(*mux.Stream){
		"passed": refuse,
		"taken": func(st *mux.Stream) {
			_ = st.Opened(wire.Answer{})
			back(st)
			_ = st.CloseWrite()
			_ = st.Close()
		},
	} {
		f.on(handle)
		c := dial(t, client, testpod.Pod4+":80")
		_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
		began := time.Now()
		sent := make(chan error, 1)
		go func() {
			_, err := c.Write(body)
			sent <- errors.Join(err, c.CloseWrite())
		}()
		hash := sha256.New()
		n, err := io.CopyN(hash, c, size/2)
		if !f.opts.Memory.spent() {
			t.Errorf("%s: the connection got no wide buffers", name)
		}
		last, err2 := io.Copy(hash, c)
		n, err = n+last, errors.Join(err, err2)
		if serr := <-sent; err != nil || serr != nil || n != size || fmt.Sprintf("%x", hash.Sum(nil)) != sum {
			t.Errorf("%s: %d bytes came back, %v; sent: %v", name, n, err, serr)
		}
		t.Logf("%s: %.0f MB/s each way", name, size/time.Since(began).Seconds()/1e6)
		_ = c.Close()
	}
	f.freed(t)
}

// TestFirstBytesAreNotLost sends before the connection is accepted, more than a header may carry.
func TestFirstBytesAreNotLost(t *testing.T) {
	client := testpod.NewClient(t)
	body := make([]byte, 3*wire.MaxFirst+17)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(body)
	sum := fmt.Sprintf("%x", sha256.Sum256(body))
	hashed := func(c io.ReadWriter) {
		hash := sha256.New()
		_, _ = io.Copy(hash, c)
		_, _ = fmt.Fprintf(c, "%x", hash.Sum(nil))
	}
	targetOf(t, testpod.Pod4+":80", func(c *net.TCPConn) { hashed(c) })
	// Refused late, so that the client has sent all it can by then.
	late := make(chan struct{})
	f := startFarEnd(t, Options{})
	f.steal(t, 80)
	f.on(func(st *mux.Stream) { <-late; refuse(st) })
	c := dial(t, client, testpod.Pod4+":80")
	if _, err := c.Write(body); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseWrite()
	close(late)
	if got, err := io.ReadAll(c); err != nil || string(got) != sum {
		t.Errorf("passed: %q, %v", got, err)
	}
	f.on(func(st *mux.Stream) {
		_ = st.Opened(wire.Answer{})
		hashed(st)
		_ = st.CloseWrite()
		_ = st.Close()
	})
	c = dial(t, client, testpod.Pod4+":80")
	if _, err := c.Write(body); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != sum {
		t.Errorf("taken: %q, %v", got, err)
	}
}

func TestCrowdGoesStraightToTheTarget(t *testing.T) {
	client := testpod.NewClient(t)
	target(t, "[::]:80")
	f := startFarEnd(t, Options{Memory: NewMemory(16<<20, 4, nil)})
	f.on(chat)
	f.steal(t, 80)
	var taken []*net.TCPConn
	for range 4 {
		c := dial(t, client, testpod.Pod4+":80")
		expect(t, c, "debuggee saw "+testpod.Client4)
		taken = append(taken, c)
	}
	expect(t, dial(t, client, testpod.Pod4+":80"), "target saw "+testpod.Client4)
	_ = taken[0].Close()
	testpod.Eventually(t, "stolen again", func() bool {
		got, err := say(t, dial(t, client, testpod.Pod4+":80"), "hello")
		return err == nil && got == "debuggee saw "+testpod.Client4+"\n"
	})
}

// TestPassthroughDoesNotUseUpThePodsPorts makes more short connections than the pod has ports of its own.
func TestPassthroughDoesNotUseUpThePodsPorts(t *testing.T) {
	const ports = "/proc/sys/net/ipv4/ip_local_port_range"
	before, err := os.ReadFile(ports)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ports, []byte("40000 40099"), 0); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.WriteFile(ports, before, 0) }()
	client := testpod.NewClient(t)
	target(t, testpod.Pod4+":80")
	f := startFarEnd(t, Options{})
	f.on(refuse)
	f.steal(t, 80)
	for range 300 {
		c := dial(t, client, testpod.Pod4+":80")
		expect(t, c, "target saw "+testpod.Client4)
		// The client's end comes first, so that TIME_WAIT stays with the passthrough socket.
		_ = c.CloseWrite()
		_, _ = io.ReadAll(c)
		_ = c.Close()
		if t.Failed() {
			break
		}
	}
}
