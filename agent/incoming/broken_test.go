//go:build linux

package incoming

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

// pieces is a target that says what it got of each connection, and lets the test answer.
func pieces(t *testing.T) <-chan *net.TCPConn {
	t.Helper()
	conns := make(chan *net.TCPConn, 8)
	l, err := net.Listen("tcp", testpod.Pod4+":80")
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			conns <- c.(*net.TCPConn)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		accepting.Wait()
		close(conns)
		for c := range conns {
			_ = c.Close()
		}
	})
	return conns
}

// hear reads exactly want.
func hear(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("heard %.300q, %v, want %.300q", got[:n], err, want)
	}
}

// hearEnd reads want and then the end.
func hearEnd(t *testing.T, r io.Reader, want string) {
	t.Helper()
	if got, err := io.ReadAll(r); err != nil || string(got) != want {
		t.Fatalf("heard %.300q, %v, want %.300q and the end", got, err, want)
	}
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// TestEarlyAnswerOfATargetThatClosesReachesTheClient sends a body to a target that answers and closes at once.
func TestEarlyAnswerOfATargetThatClosesReachesTheClient(t *testing.T) {
	client := testpod.NewClient(t)
	const early = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig"
	targetOf(t, testpod.Pod4+":80", func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 16))
		_, _ = io.WriteString(c, early)
		_ = c.CloseWrite()
		_ = c.CloseRead()
	})
	f := startFarEnd(t, Options{})
	f.on(refuse)
	f.stealRequests(t, "X-User: alice")
	for i := range 20 {
		header := ""
		if i%2 == 1 {
			header = "X-User: alice\r\n"
		}
		c := talk(t, client)
		go func() { _, _ = io.WriteString(c, post("/big", header, 2<<20)) }()
		hear(t, c.r, early)
		_ = c.Close()
	}
	f.freed(t)
}

// TestHalfClosedRequestIsCutAsTheClientCutIt : whoever answers sees the end of the client's half and not a reset, and may answer.
func TestHalfClosedRequestIsCutAsTheClientCutIt(t *testing.T) {
	client := testpod.NewClient(t)
	conns := pieces(t)
	f := startFarEnd(t, Options{})
	f.stealRequests(t, "X-User: alice")
	const cut = "POST / HTTP/1.1\r\nHost: shop\r\n%sContent-Length: 10\r\n\r\nhalf"
	for name, header := range map[string]string{"target's": "", "refused": "X-User: alice\r\n"} {
		f.on(refuse)
		c := talk(t, client)
		text := fmt.Sprintf(cut, header)
		c.send(text)
		_ = c.CloseWrite()
		server := <-conns
		t.Log(name)
		hearEnd(t, server, text)
		_, _ = io.WriteString(server, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\ncut")
		_ = server.Close()
		hearEnd(t, c.r, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\ncut")
	}
	f.on(answerRequest)
	c := talk(t, client)
	c.send(fmt.Sprintf(cut, "X-User: alice\r\n"))
	_ = c.CloseWrite()
	if status, body := c.receive("POST"); status != 200 || !strings.HasPrefix(body, "debuggee") {
		t.Errorf("%d %q", status, body)
	}
	f.freed(t)
}

// TestFallbackOfAPartedClientEndsWithTheAnswer : a target without an idle timeout would keep the connection for ever.
func TestFallbackOfAPartedClientEndsWithTheAnswer(t *testing.T) {
	client := testpod.NewClient(t)
	conns := pieces(t)
	for _, connected := range []bool{false, true} {
		asked, may, closed := make(chan struct{}), make(chan struct{}), make(chan struct{})
		f := startFarEnd(t, Options{Closed: func(uint64) { close(closed) }})
		f.on(func(st *mux.Stream) {
			_, _ = io.ReadAll(st)
			close(asked)
			<-may
			refuse(st)
		})
		f.stealRequests(t, "X-User: alice")
		c := talk(t, client)
		if connected {
			// A client that is silent at first is connected to the target.
			server := <-conns
			defer func() { _ = server.Close() }()
		}
		c.send(mine)
		_ = c.CloseWrite()
		<-asked
		<-closed
		close(may)
		server := <-conns
		hearEnd(t, server, mine)
		_, _ = io.WriteString(server, ok)
		_ = server.Close()
		hearEnd(t, c.r, ok)
		closeNow(t, f)
	}
}

// TestBytesBehindAnAnswerAreNotLost : servers that answer HEAD with a body are common.
func TestBytesBehindAnAnswerAreNotLost(t *testing.T) {
	client := testpod.NewClient(t)
	conns := pieces(t)
	f := startFarEnd(t, Options{})
	f.on(func(st *mux.Stream) { t.Errorf("offered: %+v", st.Header); refuse(st) })
	f.stealRequests(t, "X-User: alice")
	c := talk(t, client)
	c.send("HEAD / HTTP/1.1\r\nHost: shop\r\n\r\n")
	server := <-conns
	hear(t, server, "HEAD / HTTP/1.1\r\nHost: shop\r\n\r\n")
	_, _ = io.WriteString(server, ok)
	hear(t, c.r, ok)
	// Nobody can tell any more what answers what: all is the target's.
	c.send(mine)
	hear(t, server, mine)
	_ = server.Close()
	hearEnd(t, c.r, "")
}

// TestTargetThatEndsItsIdleConnectionDoesNotEndTheDebuggeesRequest : Node.js does so after five seconds, others say 408 before.
func TestTargetThatEndsItsIdleConnectionDoesNotEndTheDebuggeesRequest(t *testing.T) {
	client := testpod.NewClient(t)
	conns := pieces(t)
	f := startFarEnd(t, Options{})
	f.stealRequests(t, "X-User: alice")
	for name, end := range map[string]func(*net.TCPConn){
		"closes": func(c *net.TCPConn) { _ = c.Close() },
		"resets": func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() },
		"says why": func(c *net.TCPConn) {
			_, _ = io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")
			_ = c.Close()
		},
	} {
		asked, may := make(chan struct{}), make(chan struct{})
		f.on(func(st *mux.Stream) {
			_, _ = io.ReadAll(st)
			close(asked)
			<-may
			answerRequest(st)
		})
		c := talk(t, client)
		c.send(others)
		server := <-conns
		hear(t, server, others)
		_, _ = io.WriteString(server, ok)
		hear(t, c.r, ok)
		c.send(mine)
		<-asked
		end(server)
		<-time.After(20 * time.Millisecond)
		close(may)
		if _, body := c.receive("GET"); !strings.HasPrefix(body, "debuggee") {
			t.Errorf("%s: %q", name, body)
		}
		c.send("\r\n" + others)
		server = <-conns
		hear(t, server, others)
		_ = server.Close()
	}
}

// TestNoRequestIsTakenBehindTheLastOne : who was told that the connection ends asks again on another one.
func TestNoRequestIsTakenBehindTheLastOne(t *testing.T) {
	client := testpod.NewClient(t)
	conns := pieces(t)
	f := startFarEnd(t, Options{})
	f.on(func(st *mux.Stream) { t.Errorf("offered: %+v", st.Header); refuse(st) })
	f.stealRequests(t, "X-User: alice")
	for request, response := range map[string]string{
		others: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
		"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n": ok,
		"GET / HTTP/1.0\r\n\r\n":                                    ok,
	} {
		c := talk(t, client)
		c.send(request + mine)
		server := <-conns
		hear(t, server, request)
		_, _ = io.WriteString(server, response)
		hear(t, c.r, response)
		hear(t, server, mine)
		_ = server.Close()
		hearEnd(t, c.r, "")
	}
	f.on(answerRequest)
	c := talk(t, client)
	c.send("GET / HTTP/1.1\r\nHost: shop\r\nX-User: alice\r\nConnection: close\r\n\r\n" + mine)
	if _, body := c.receive("GET"); !strings.HasPrefix(body, "debuggee") {
		t.Errorf("%q", body)
	}
	hearEnd(t, c.r, "")
	if n := len(f.seen()); n != 1 {
		t.Errorf("%d requests were offered", n)
	}
}

// TestMalformedBodyOfTheTargetsIsTheTargetsAffair goes on byte for byte where a chunk is none.
func TestMalformedBodyOfTheTargetsIsTheTargetsAffair(t *testing.T) {
	client := testpod.NewClient(t)
	conns := pieces(t)
	f := startFarEnd(t, Options{})
	f.on(func(st *mux.Stream) { t.Errorf("offered: %+v", st.Header); refuse(st) })
	f.stealRequests(t, "X-User: alice")
	const head, odd = "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n", "zz\r\n" + mine
	for _, pause := range []bool{false, true} {
		c := talk(t, client)
		var server *net.TCPConn
		if pause {
			c.send(head + "1\r\na\r\n")
			server = <-conns
			hear(t, server, head+"1\r\na\r\n")
			c.send(odd)
		} else {
			c.send(head + odd)
			server = <-conns
			hear(t, server, head)
		}
		hear(t, server, odd)
		_, _ = io.WriteString(server, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
		_ = server.Close()
		hearEnd(t, c.r, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
	}
}

// TestSilentClientThatHalfClosesHearsTheServer : whois, and nc without input.
func TestSilentClientThatHalfClosesHearsTheServer(t *testing.T) {
	client := testpod.NewClient(t)
	conns := pieces(t)
	f := startFarEnd(t, Options{})
	f.stealRequests(t, "X-User: alice")
	c := talk(t, client)
	_ = c.CloseWrite()
	server := <-conns
	hearEnd(t, server, "")
	_, _ = io.WriteString(server, "220 welcome\r\n")
	_ = server.Close()
	hearEnd(t, c.r, "220 welcome\r\n")
}

// TestKeptRequestStaysWholeWhileTheTargetIsReached : the rest of it alone would be taken for a request.
func TestKeptRequestStaysWholeWhileTheTargetIsReached(t *testing.T) {
	b := newBudget(wire.MaxFirst)
	if !b.takeAll(wire.MaxFirst) {
		t.Fatal("no budget")
	}
	u := newUpload(nil, false, b, []byte("POST "), wire.MaxFirst)
	u.dst = io.Discard
	u.delivered()
	if !u.keep() {
		t.Fatal("it is not kept")
	}
	wrote := make(chan error)
	go func() { wrote <- u.write(make([]byte, wire.MaxFirst)) }()
	select {
	case <-wrote:
		t.Error("more was sent than is kept")
	case <-time.After(20 * time.Millisecond):
	}
	var target bytes.Buffer
	u.turnTo(&target)
	if err := <-wrote; err != nil || target.Len() != len("POST ")+wire.MaxFirst || !strings.HasPrefix(target.String(), "POST ") {
		t.Errorf("the target got %d bytes, %.10q, %v", target.Len(), target.String(), err)
	}
	if b.left != wire.MaxFirst {
		t.Errorf("%d bytes of the budget are left", b.left)
	}
}
