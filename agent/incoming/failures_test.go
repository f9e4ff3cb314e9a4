//go:build linux

package incoming

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// failing is a way in which an adapter fails to answer. at is called where the session may end too.
type failing struct {
	name   string
	handle func(st *mux.Stream, at func())
	// delivered says that the request is the debuggee's, so that no target may have it too.
	delivered bool
	// status is what a client is told that waits for it, with a target that answers; 0: its connection is reset or ends.
	status int
}

func failings() []failing {
	const begun = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
	opened := func(st *mux.Stream) { _ = st.Opened(wire.Answer{}); _, _ = io.ReadFull(st, make([]byte, 60)) }
	outcome := func(st *mux.Stream, text string) {
		opened(st)
		_ = wire.WriteFrame(st, wire.Outcome{}, []byte(text))
	}
	end := func(st *mux.Stream) { _, _ = st.CloseWrite(), st.Close() }
	return []failing{
		{"refuses at once", func(st *mux.Stream, at func()) { at(); refuse(st) }, false, 200},
		{"refuses late", func(st *mux.Stream, at func()) { _, _ = io.ReadFull(st, make([]byte, 60)); at(); refuse(st) }, false, 200},
		{"resets before it opens", func(st *mux.Stream, at func()) { at(); st.Reset() }, false, 200},
		{"resets when it has opened", func(st *mux.Stream, at func()) { opened(st); at(); st.Reset() }, true, 502},
		{"closes when it has opened", func(st *mux.Stream, at func()) { opened(st); at(); end(st) }, true, 502},
		{"says something else", func(st *mux.Stream, at func()) { opened(st); at(); _, _ = io.WriteString(st, "\x00\x02no"); end(st) }, true, 502},
		{"says that it failed", func(st *mux.Stream, at func()) {
			opened(st)
			at()
			_ = wire.WriteFrame(st, wire.Outcome{Failed: &wire.Failure{Status: 504, Text: "late"}}, nil)
			end(st)
		}, true, 504},
		{"resets behind the outcome", func(st *mux.Stream, at func()) { outcome(st, ""); at(); st.Reset() }, true, 0},
		{"closes behind the outcome", func(st *mux.Stream, at func()) { outcome(st, ""); at(); end(st) }, true, 0},
		{"resets in the response", func(st *mux.Stream, at func()) { outcome(st, begun); at(); st.Reset() }, true, 0},
		{"closes in the response", func(st *mux.Stream, at func()) { outcome(st, begun); at(); end(st) }, true, 0},
	}
}

// counting is a target that counts the requests that it has whole, by their path.
type counting struct {
	mu    sync.Mutex
	whole map[string]int
}

func (c *counting) serve(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err == nil {
		c.mu.Lock()
		c.whole[r.URL.Path]++
		c.mu.Unlock()
	}
	_, _ = io.WriteString(w, "target")
}

func (c *counting) of(path string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.whole[path]
}

// TestFailuresOfAdaptersClientsAndTargets : whoever fails when, no request is had by two, all memory is given back, and the client is told what a
// client of the target is told, or 502 or 504.
func TestFailuresOfAdaptersClientsAndTargets(t *testing.T) {
	client := testpod.NewClient(t)
	for _, target := range []string{"answers", "is down", "resets"} {
		t.Run("target "+target, func(t *testing.T) {
			count := &counting{whole: map[string]int{}}
			switch target {
			case "answers":
				webTarget(t, testpod.Pod4+":80", count.serve)
			case "resets":
				targetOf(t, testpod.Pod4+":80", func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 16)); _ = c.SetLinger(0) })
			}
			memory := NewMemory(6*firsts, 100, nil)
			for i, way := range failings() {
				for _, session := range []string{"goes on", "ends"} {
					f := startFarEnd(t, Options{Memory: memory})
					f.stealRequests(t, "X-User: alice")
					for _, who := range []string{"waits", "half-closes", "resets in the body", "resets when it has asked"} {
						path := fmt.Sprintf("/%s/%d/%s/%s", strings.Fields(target)[0], i, strings.Fields(session)[0], strings.ReplaceAll(who, " ", "-"))
						failOnce(t, client, f, way, target, session, who, path, count)
						if session == "ends" {
							break
						}
					}
					f.freed(t)
					closeNow(t, f)
				}
			}
		})
	}
}

func failOnce(t *testing.T, client *testpod.Client, f *farEnd, way failing, target, session, who, path string, count *counting) {
	t.Helper()
	var asked atomic.Int32
	done := make(chan struct{}, 4)
	f.on(func(st *mux.Stream) {
		asked.Add(1)
		way.handle(st, func() {
			if session == "ends" {
				f.Subscriptions.End(wire.Refusal{Errno: syscall.ENETDOWN})
			}
		})
		done <- struct{}{}
	})
	c := talk(t, client)
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	text := post(path, "X-User: alice\r\n", 5000)
	if who == "resets in the body" {
		text = text[:len(text)-1000]
	}
	c.send(text)
	if who == "half-closes" {
		_ = c.CloseWrite()
	}
	<-done
	if strings.HasPrefix(who, "resets") {
		_ = c.SetLinger(0)
		_ = c.Close()
	} else {
		status := 0
		if res, err := http.ReadResponse(c.r, nil); err == nil {
			if _, err := io.Copy(io.Discard, res.Body); err == nil {
				status = res.StatusCode
			}
		} else if te := net.Error(nil); errors.As(err, &te) && te.Timeout() {
			t.Errorf("%s: the client is told nothing", path)
		}
		want := way.status
		if want == 200 && target != "answers" {
			want = 0
		}
		// A session that ends takes what it was about to say with it.
		if session == "goes on" && status != want || session == "ends" && status != want && status != 0 && status != 502 && status != 504 {
			t.Errorf("%s, an adapter that %s, session %s, client %s: the client is told %d, want %d", path, way.name, session, who, status, want)
		}
		_ = c.Close()
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("%s: the adapter was asked %d times", path, n)
	}
	if n := count.of(path); n > 1 || way.delivered && n > 0 {
		t.Errorf("%s: the target had it %d times beside an adapter that %s", path, n, way.name)
	}
}

// TestClientThatIsGoneIsNotKept : whatever is waited for when it resets, nothing of its connection stays.
func TestClientThatIsGoneIsNotKept(t *testing.T) {
	client := testpod.NewClient(t)
	conns := pieces(t)
	for name, test := range map[string]struct {
		header string
		handle func(st *mux.Stream, over <-chan struct{})
	}{
		"while the target answers":  {"", nil},
		"while the adapter decides": {"X-User: alice\r\n", func(st *mux.Stream, over <-chan struct{}) { <-over; st.Reset() }},
		"while the debuggee thinks": {"X-User: alice\r\n", func(st *mux.Stream, _ <-chan struct{}) {
			_ = st.Opened(wire.Answer{})
			_, _ = io.Copy(io.Discard, st)
			for {
				// The half ends with the request, so that a reset shows when something is said.
				if _, err := io.WriteString(st, "\x00"); err != nil {
					break
				}
				<-time.After(time.Millisecond)
			}
			_ = st.Close()
		}},
	} {
		memory := NewMemory(6*firsts, 100, nil)
		f := startFarEnd(t, Options{Memory: memory})
		over := make(chan struct{})
		f.on(func(st *mux.Stream) { test.handle(st, over) })
		f.stealRequests(t, "X-User: alice")
		for asked, body := range []int{0, 100} {
			c := talk(t, client)
			text := post("/gone", test.header, 100)
			c.send(text[:len(text)-body])
			if test.header == "" {
				server := <-conns
				hear(t, server, text[:len(text)-body])
				_ = c.SetLinger(0)
				_ = c.Close()
				if _, err := server.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%s: the target reads %v", name, err)
				}
				_ = server.Close()
			} else {
				testkit.Eventually(t, "it is asked", func() bool { return len(f.seen()) > asked })
				_ = c.SetLinger(0)
				_ = c.Close()
			}
			testkit.Eventually(t, name+": the connection is gone", func() bool {
				memory.mu.Lock()
				defer memory.mu.Unlock()
				return memory.count == 0
			})
		}
		close(over)
		f.freed(t)
		closeNow(t, f)
	}
}

// TestRaceOfAnIdleTargetsEndWithARequest : a server that ends an idle connection just when a request comes does not get that on a second
// connection, because the client, which is told of the end, sends it again.
func TestRaceOfAnIdleTargetsEndWithARequest(t *testing.T) {
	client := testpod.NewClient(t)
	var first, later atomic.Int32
	targetOf(t, testpod.Pod4+":80", func(c *net.TCPConn) {
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if req.URL.Path == "/others" {
			first.Add(1)
		} else {
			later.Add(1)
		}
		_, _ = io.WriteString(c, ok)
		<-time.After(2 * time.Millisecond)
	})
	f := startFarEnd(t, Options{})
	f.on(refuse)
	f.stealRequests(t, "X-User: alice")
	const rounds = 150
	for i := range rounds {
		c := talk(t, client)
		c.ask(others, "ok")
		<-time.After(time.Duration(i%15) * 200 * time.Microsecond)
		_, _ = io.WriteString(c, "GET /second HTTP/1.1\r\nHost: shop\r\n\r\n")
		if _, err := http.ReadResponse(c.r, nil); err == nil {
			t.Error("a connection that the target ended answers again")
		}
		_ = c.Close()
	}
	if first.Load() != rounds || later.Load() != 0 {
		t.Errorf("the target had %d first requests and %d second ones", first.Load(), later.Load())
	}
	f.freed(t)
}
