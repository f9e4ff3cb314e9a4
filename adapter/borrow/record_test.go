//go:build linux

package borrow

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/borrow/requests/local"
	"podstep.dev/adapter/borrow/tunnel"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// runDebuggee lets a server of net/http be the session's debuggee from here on, instead of another.
func (s *stage) runDebuggee(name string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, "%s got %s %s %q from %s", name, r.Method, r.URL, body, r.Header.Get("Authorization"))
	}))
	s.Cleanup(server.Close)
	s.host.echo = func() (splice.Conn, error) {
		conn, err := new(net.Dialer).DialContext(s.Context(), "tcp", server.Listener.Addr().String())
		if err != nil {
			return nil, err
		}
		return conn.(*net.TCPConn), nil
	}
}

// asks makes a request come from a client of the place, and waits until it is over.
func (p *fakePlace) asks(request string) string {
	p.t.Helper()
	p.mu.Lock()
	link := p.link
	p.mu.Unlock()
	st, err := link.Open(p.t.Context(), wire.Header{
		Kind: wire.KindRequest, Port: 80, From: netip.MustParseAddrPort("10.42.0.9:4711"), To: netip.MustParseAddrPort("10.42.0.7:80"), Connection: 1, Request: 1, Protocol: wire.HTTP1,
	}, []byte(request))
	if err != nil {
		return err.Error()
	}
	_ = st.CloseWrite()
	answer, err := io.ReadAll(st)
	if err != nil {
		p.t.Error(err)
	}
	return string(answer)
}

const login = "POST /login?token=s3cret HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer s3cret\r\nContent-Length: 3\r\n\r\nabc"

// TestRequestsAreKeptAndReplayed goes the whole way: agent, tunnel, a server, the log, and the session's socket.
func TestRequestsAreKeptAndReplayed(t *testing.T) {
	p := newPlace(t, "pod/a")
	s := mustBegin(t, newTarget(p), nil)
	s.runDebuggee("first")
	if got := p.asks(login); !strings.Contains(got, `first got POST /login?token=s3cret "abc" from Bearer s3cret`) {
		t.Errorf("the client got %q", got)
	}
	s.SetPaused(true)
	p.asks("GET /paused HTTP/1.1\r\nHost: shop\r\n\r\n")
	var list []requests.Summary
	testkit.Eventually(t, "both are over", func() bool {
		list = s.Requests().List(0, 0)
		return len(list) == 2 && list[0].Done && list[1].Done
	})
	if r := list[0]; r.Method != "POST" || r.Query != "token=****" || r.Status != 201 || r.Went != tunnel.WentDebuggee || r.Peer.String() != "10.42.0.9:4711" || r.FirstByte <= 0 || r.Took < r.FirstByte {
		t.Errorf("the first: %+v", r)
	}
	if r := list[1]; r.Went != tunnel.WentTarget || !strings.Contains(r.Why, "the debugger is stopped") || r.Status != 0 {
		t.Errorf("the second: %+v", r)
	}

	// The debuggee is another after a restart. A stopped debugger does not keep a replay from it.
	s.runDebuggee("second")
	dirs := Dirs()
	if len(dirs) != 1 {
		t.Fatalf("sessions in %v", dirs)
	}
	c, err := local.Dial(t.Context(), dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.About.Target != "deployment/web" || c.About.Mode != "steal" {
		t.Errorf("about %+v", c.About)
	}
	e, err := c.Replay(t.Context(), 1, "")
	if err != nil || e.ReplayOf != 1 || e.Response == nil || !strings.HasPrefix(e.Response.Body.Text, `second got POST /login?token=s3cret "abc" from Bearer s3cret`) {
		t.Errorf("the replay: %+v, %v", e, err)
	}
	shown, err := c.Show(t.Context(), 1, requests.AsHTTP, requests.Masked)
	if err != nil {
		t.Fatal(err)
	}
	e, err = c.Replay(t.Context(), 1, strings.Replace(shown, "abc", "abcd", 1))
	if err != nil || e.Response == nil || !strings.HasPrefix(e.Response.Body.Text, `second got POST /login?token=s3cret "abcd" from Bearer s3cret`) {
		t.Errorf("the edited replay: %+v, %v", e, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dirs[0]); !os.IsNotExist(err) {
		t.Errorf("the directory: %v", err)
	}
}

func TestTheLogKnowsTheTunnelsWords(t *testing.T) {
	if requests.Debuggee != tunnel.WentDebuggee || requests.Target != tunnel.WentTarget || requests.Nobody != tunnel.WentNobody {
		t.Error("they differ")
	}
}

func TestAReplayOfADebuggeeThatIsGone(t *testing.T) {
	p := newPlace(t, "pod/a")
	s := mustBegin(t, newTarget(p), nil)
	s.runDebuggee("first")
	p.asks(login)
	s.host.echo = nil
	r, err := s.Requests().Replay(1, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(context.WithoutCancel(t.Context())); err == nil {
		t.Error("it was answered")
	}
	if e, _ := s.Requests().Entry(r.ID, requests.Masked); !strings.Contains(e.Failed, "connection refused") || !e.Done {
		t.Errorf("the replay: %+v", e.Summary)
	}
}
