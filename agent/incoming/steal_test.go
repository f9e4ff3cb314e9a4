//go:build linux

package incoming

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

func itoa(n int) string { return strconv.Itoa(n) }

// echo plays a debuggee that sends everything back, after the client's end only.
func echo(st *mux.Stream) {
	if st.Opened(wire.Answer{}) != nil {
		return
	}
	text, err := io.ReadAll(st)
	if err != nil {
		st.Reset()
		return
	}
	_, _ = st.Write(text)
	_ = st.CloseWrite()
	_ = st.Close()
}

// chat plays a debuggee that answers each line as target does.
func chat(st *mux.Stream) {
	if st.Opened(wire.Answer{}) != nil {
		return
	}
	buf := make([]byte, 256)
	for {
		if _, err := st.Read(buf); err != nil {
			st.Reset()
			return
		}
		if _, err := io.WriteString(st, "debuggee saw "+st.Header.From.Addr().String()+"\n"); err != nil {
			return
		}
	}
}

func dial(t *testing.T, client *testpod.Client, addr string) *net.TCPConn {
	t.Helper()
	c, err := client.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// expect says a line and wants that answer.
func expect(t *testing.T, c net.Conn, want string) {
	t.Helper()
	if got, err := say(t, c, "hello"); err != nil || got != want+"\n" {
		t.Errorf("answer %q, %v; want %q", got, err, want)
	}
}

func TestStealGivesTheAdapterTheTruePeer(t *testing.T) {
	client := testpod.NewClient(t)
	f := startFarEnd(t, Options{})
	f.on(answer("from the debuggee"))
	sub := f.steal(t, 80)
	for _, test := range []struct{ url, from, to string }{
		{"http://" + testpod.Pod4 + "/", testpod.Client4, testpod.Pod4},
		{"http://[" + testpod.Pod6 + "]", testpod.Client6, testpod.Pod6},
	} {
		if got := curl(t, client, test.url); got != "from the debuggee" {
			t.Errorf("%s: %q", test.url, got)
		}
		headers := f.seen()
		h := headers[len(headers)-1]
		to := netip.AddrPortFrom(netip.MustParseAddr(test.to), 80)
		if h.Kind != wire.KindIncoming || h.From.Addr().String() != test.from || h.To != to || h.Port != 80 || h.Subscription != sub.ID {
			t.Errorf("%s: %+v", test.url, h)
		}
	}
}

func TestRefusedConnectionReachesTheTargetWithItsTrueClient(t *testing.T) {
	client := testpod.NewClient(t)
	for _, listen := range []string{"0.0.0.0:80", "[::]:81", testpod.Pod4 + ":82", "[" + testpod.Pod6 + "]:83", "127.0.0.1:84", "[::1]:85"} {
		target(t, listen)
	}
	f := startFarEnd(t, Options{})
	f.on(refuse)
	for port := uint16(80); port <= 85; port++ {
		f.steal(t, port)
	}
	outside, inside := client.Dial, func(addr string) (*net.TCPConn, error) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	}
	for name, test := range map[string]struct {
		dial     func(string) (*net.TCPConn, error)
		to, want string
	}{
		"IPv4":                    {outside, testpod.Pod4 + ":80", testpod.Client4},
		"IPv4 to a mapped socket": {outside, testpod.Pod4 + ":81", testpod.Client4},
		"IPv6":                    {outside, "[" + testpod.Pod6 + "]:81", testpod.Client6},
		"IPv4, one address":       {outside, testpod.Pod4 + ":82", testpod.Client4},
		"IPv6, one address":       {outside, "[" + testpod.Pod6 + "]:83", testpod.Client6},
		"inside, pod IPv4":        {inside, testpod.Pod4 + ":80", testpod.Pod4},
		"inside, pod IPv6":        {inside, "[" + testpod.Pod6 + "]:83", testpod.Pod6},
		"inside, 127.0.0.1":       {inside, "127.0.0.1:84", "127.0.0.1"},
		"inside, ::1":             {inside, "[::1]:85", "::1"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := test.dial(test.to)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			expect(t, c, "target saw "+test.want)
		})
	}
}

func TestManyClientsAtOnceAreNotMixedUp(t *testing.T) {
	client := testpod.NewClient(t)
	target(t, "[::]:80")
	f := startFarEnd(t, Options{})
	f.on(refuse)
	f.steal(t, 80)
	var dials sync.WaitGroup
	for i := range 200 {
		test := [][2]string{
			{testpod.Client4, testpod.Pod4 + ":80"}, {testpod.Other4, testpod.Pod4 + ":80"},
			{testpod.Client6, "[" + testpod.Pod6 + "]:80"}, {testpod.Other6, "[" + testpod.Pod6 + "]:80"},
		}[i%4]
		dials.Go(func() {
			c, err := client.DialFrom(test[0], test[1])
			if err != nil {
				t.Error(err)
				return
			}
			expect(t, c, "target saw "+test[0])
			_ = c.Close()
		})
	}
	dials.Wait()
}

func TestExistingConnectionIsNotTouched(t *testing.T) {
	client := testpod.NewClient(t)
	target(t, "[::]:80")
	four, six := dial(t, client, testpod.Pod4+":80"), dial(t, client, "["+testpod.Pod6+"]:80")
	expect(t, four, "target saw "+testpod.Client4)
	f := startFarEnd(t, Options{})
	f.on(chat)
	sub := f.steal(t, 80)
	expect(t, four, "target saw "+testpod.Client4)
	expect(t, six, "target saw "+testpod.Client6)
	expect(t, dial(t, client, testpod.Pod4+":80"), "debuggee saw "+testpod.Client4)
	if err := f.Unsubscribe(t.Context(), wire.UnsubscribeParams{ID: sub.ID}); err != nil {
		t.Fatal(err)
	}
	expect(t, four, "target saw "+testpod.Client4)
	expect(t, six, "target saw "+testpod.Client6)
}

func TestUnsubscribeServesAtOnceAndLetsConnectionsGoOn(t *testing.T) {
	client := testpod.NewClient(t)
	target(t, "[::]:80")
	f := startFarEnd(t, Options{})
	sub := f.steal(t, 80)
	f.on(refuse)
	passed4, passed6 := dial(t, client, testpod.Pod4+":80"), dial(t, client, "["+testpod.Pod6+"]:80")
	expect(t, passed4, "target saw "+testpod.Client4)
	expect(t, passed6, "target saw "+testpod.Client6)
	f.on(chat)
	taken := dial(t, client, testpod.Pod4+":80")
	expect(t, taken, "debuggee saw "+testpod.Client4)
	if err := f.Unsubscribe(t.Context(), wire.UnsubscribeParams{ID: sub.ID}); err != nil {
		t.Fatal(err)
	}
	expect(t, dial(t, client, testpod.Pod4+":80"), "target saw "+testpod.Client4)
	expect(t, passed4, "target saw "+testpod.Client4)
	expect(t, passed6, "target saw "+testpod.Client6)
	expect(t, taken, "debuggee saw "+testpod.Client4)
	if err := f.Unsubscribe(t.Context(), wire.UnsubscribeParams{ID: sub.ID}); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("second unsubscribe: %v", err)
	}
}

func TestLinkLossServesAtOnceAndResetsOnlyTakenConnections(t *testing.T) {
	client := testpod.NewClient(t)
	target(t, "[::]:80")
	f := startFarEnd(t, Options{})
	f.steal(t, 80)
	f.on(refuse)
	passed := dial(t, client, testpod.Pod4+":80")
	expect(t, passed, "target saw "+testpod.Client4)
	f.on(chat)
	taken := dial(t, client, testpod.Pod4+":80")
	expect(t, taken, "debuggee saw "+testpod.Client4)
	cut := time.Now()
	_ = f.Session.Close()
	if _, err := taken.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("taken connection: %v", err)
	}
	// The rule is there until whoever owns the link closes the subscriptions, but nobody notices.
	expect(t, dial(t, client, testpod.Pod4+":80"), "target saw "+testpod.Client4)
	t.Logf("served %s after the link was cut", time.Since(cut).Round(time.Microsecond))
	expect(t, passed, "target saw "+testpod.Client4)
}

func TestEndTellsAndResetsTakenConnections(t *testing.T) {
	client := testpod.NewClient(t)
	f := startFarEnd(t, Options{})
	f.on(chat)
	sub := f.steal(t, 80)
	taken := dial(t, client, testpod.Pod4+":80")
	expect(t, taken, "debuggee saw "+testpod.Client4)
	f.End(wire.Refusal{Errno: syscall.ESRCH, Text: "gone"})
	if _, err := taken.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("taken connection: %v", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.ended) != 1 || f.ended[0].ID != sub.ID || f.ended[0].Refusal.Errno != syscall.ESRCH {
		t.Errorf("told %+v", f.ended)
	}
}

func TestSilentAdapterCostsTheClientOnlyTheTimeout(t *testing.T) {
	client := testpod.NewClient(t)
	target(t, "[::]:80")
	f := startFarEnd(t, Options{OpenTimeout: 200 * time.Millisecond})
	f.on(func(st *mux.Stream) { _, _ = io.Copy(io.Discard, st) })
	f.steal(t, 80)
	c := dial(t, client, testpod.Pod4+":80")
	began := time.Now()
	expect(t, c, "target saw "+testpod.Client4)
	if d := time.Since(began); d < 150*time.Millisecond || d > 5*time.Second {
		t.Errorf("passed through after %s", d)
	}
}

// TestOneClientAtATimeWaitsForASilentAdapter : the others go to the target at once, until it answers again.
func TestOneClientAtATimeWaitsForASilentAdapter(t *testing.T) {
	const patience = 2 * time.Second
	client := testpod.NewClient(t)
	target(t, "0.0.0.0:80")
	f := startFarEnd(t, Options{OpenTimeout: patience})
	answered := make(chan struct{})
	f.on(func(st *mux.Stream) {
		select {
		case <-answered:
			answer("from the debuggee")(st)
		case <-t.Context().Done():
		}
	})
	f.steal(t, 80)
	expect(t, dial(t, client, testpod.Pod4+":80"), "target saw "+testpod.Client4)
	trial := dial(t, client, testpod.Pod4+":80")
	testpod.Eventually(t, "the second connection is offered", func() bool { return len(f.seen()) == 2 })
	began := time.Now()
	for range 10 {
		expect(t, dial(t, client, testpod.Pod4+":80"), "target saw "+testpod.Client4)
	}
	if took := time.Since(began); took > patience {
		t.Errorf("ten connections beside the one that waits took %v", took)
	}
	close(answered)
	_ = trial.Close()
	testpod.Eventually(t, "the debuggee answers again", func() bool { return curl(t, client, "http://"+testpod.Pod4+"/") == "from the debuggee" })
}

func TestServerThatSpeaksFirstIsNotHeldUp(t *testing.T) {
	client := testpod.NewClient(t)
	l, err := net.Listen("tcp", testpod.Pod4+":25")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "220 target\r\n")
			_ = c.Close()
		}
	}()
	defer func() { _ = l.Close() }()
	f := startFarEnd(t, Options{})
	f.steal(t, 25)
	for want, handle := range map[string]func(*mux.Stream){
		"220 target\r\n": refuse,
		"220 debuggee\r\n": func(st *mux.Stream) {
			_ = st.Opened(wire.Answer{})
			_, _ = io.WriteString(st, "220 debuggee\r\n")
			_ = st.CloseWrite()
			_, _ = io.Copy(io.Discard, st)
			_ = st.Close()
		},
	} {
		f.on(handle)
		c := dial(t, client, testpod.Pod4+":25")
		if got, err := io.ReadAll(c); err != nil || string(got) != want {
			t.Errorf("banner %q, %v; want %q", got, err, want)
		}
		_ = c.Close()
	}
}

func TestHalfCloseReachesTheOtherEnd(t *testing.T) {
	client := testpod.NewClient(t)
	l := targetOf(t, testpod.Pod4+":80", func(c *net.TCPConn) {
		text, _ := io.ReadAll(c)
		_, _ = c.Write(bytes.ToUpper(text))
	})
	defer func() { _ = l.Close() }()
	f := startFarEnd(t, Options{})
	f.steal(t, 80)
	for want, handle := range map[string]func(*mux.Stream){"HELLO": refuse, "hello": echo} {
		f.on(handle)
		c := dial(t, client, testpod.Pod4+":80")
		_, _ = io.WriteString(c, "hello")
		_ = c.CloseWrite()
		if got, err := io.ReadAll(c); err != nil || string(got) != want {
			t.Errorf("after the half-close: %q, %v; want %q", got, err, want)
		}
	}
}
