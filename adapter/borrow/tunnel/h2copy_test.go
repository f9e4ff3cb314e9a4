package tunnel

import (
	"errors"
	"io"
	"net/http"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/internal/h2"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// copyH2 begins a copy of a request of a client's connection.
func (a *agentEnd) copyH2(connection uint64, head []hpack.HeaderField, data []byte, end bool) (*mux.Stream, error) {
	first, err := h2.Begin(head, data, end)
	if err != nil {
		a.Fatal(err)
	}
	h := incoming(wire.KindRequestCopy)
	h.Connection, h.Request, h.Protocol = connection, a.last.Add(1), wire.HTTP2
	st, err := a.Open(a.Context(), h, nil)
	if err == nil {
		_, err = st.Write(first)
	}
	return st, err
}

// isOver reads what comes back of a copy, which is nothing, and ends it.
func isOver(t *testing.T, stream *mux.Stream) {
	t.Helper()
	if answer, err := io.ReadAll(stream); err != nil || len(answer) > 0 {
		t.Errorf("a copy was answered %q: %v", answer, err)
	}
	_ = stream.CloseWrite()
	_ = stream.Close()
}

// TestCopiesOfHTTP2AreDelivered : beside each other, over one connection; their answers are recorded, and nobody gets them.
func TestCopiesOfHTTP2AreDelivered(t *testing.T) {
	recorder := &tapes{}
	tn := &Tunnel{Recorder: recorder, Pause: Pause{Policy: wire.PauseReject}}
	tn.SetRules([]Rule{{Action: ActFail}})
	d := servedH2(t, variousH2)
	a := connect(t, tn, d)
	head := h2request("POST", "/b")
	waiting, err := a.copyH2(1, head, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	other, err := a.copyH2(1, h2request("GET", "/other"), nil, true)
	if err != nil {
		t.Fatal(err)
	}
	isOver(t, other)
	if err := h2.NewWriter(waiting).Data(large, true); err != nil {
		t.Fatal(err)
	}
	isOver(t, waiting)
	testkit.Eventually(t, "both are recorded", func() bool { all := recorder.all(); return len(all) == 2 && all[0].done() && all[1].done() })
	p := recorder.all()[0]
	if h2.Value(headOf(t, p.request), ":path") != "/b" {
		p = recorder.all()[1]
	}
	heads, body := sections(t, p.request)
	answer, text := sections(t, p.response)
	if diff := cmp.Diff([][]hpack.HeaderField{head}, heads); diff != "" || body != string(large) || p.err != nil {
		t.Errorf("asked %s, %d bytes, %v", diff, len(body), p.err)
	}
	if len(answer) != 2 || h2.Value(answer[1], "x-sum") != "1048576" || text != "HTTP/2.0 POST /b 1048576 <nil>" {
		t.Errorf("answered %v %q", answer, text)
	}
	for _, p := range recorder.all() {
		if !cmp.Equal(p.went, []string{"copy: the target answered its client"}) {
			t.Errorf("went %q", p.went)
		}
	}
	if n := d.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	var again tape
	if err := tn.ReplayHTTP2(t.Context(), 80, p.request, &again); err != nil {
		t.Errorf("replayed: %v", err)
	}
}

func headOf(t *testing.T, b []byte) []hpack.HeaderField {
	t.Helper()
	heads, _ := sections(t, b)
	if len(heads) == 0 {
		t.Fatal("nothing was recorded")
	}
	return heads[0]
}

// TestACopyOfHTTP2IsGivenUp : by its client, by a reset behind the whole request or in it, or by a link that lost some of it.
func TestACopyOfHTTP2IsGivenUp(t *testing.T) {
	for name, end := range map[string]func(*mux.Stream){
		"whole": func(st *mux.Stream) {
			w := h2.NewWriter(st)
			_ = errors.Join(w.Data([]byte("abc"), true), w.Reset(http2.ErrCodeCancel))
			st.Reset()
		},
		"half":  func(st *mux.Stream) { _ = h2.NewWriter(st).Reset(http2.ErrCodeCancel); st.Reset() },
		"lost":  func(st *mux.Stream) { st.Reset() },
		"ended": func(st *mux.Stream) { _ = st.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			recorder := &tapes{}
			began, over := make(chan struct{}), make(chan error, 1)
			a := connect(t, &Tunnel{Recorder: recorder}, servedH2(t, func(_ http.ResponseWriter, r *http.Request) {
				close(began)
				<-r.Context().Done()
				over <- r.Context().Err()
			}))
			st, err := a.copyH2(1, h2request("POST", "/"), nil, false)
			if err != nil {
				t.Fatal(err)
			}
			<-began
			end(st)
			if err := <-over; err == nil {
				t.Error("the debuggee's request goes on")
			}
			p := recorder.all()[0]
			testkit.Eventually(t, "its record ends", p.done)
			if p.err == nil || !cmp.Equal(p.went, []string{"copy: the target answered its client"}) {
				t.Errorf("went %q, ended: %v", p.went, p.err)
			}
		})
	}
}

// TestACopyOfHTTP2ThatIsNotTaken : the agent hears of it, and nothing is recorded, as of connections.
func TestACopyOfHTTP2ThatIsNotTaken(t *testing.T) {
	for name, c := range map[string]struct {
		d     *debuggee
		errno syscall.Errno
		told  bool
	}{
		"nobody listens": {&debuggee{addr: "127.0.0.1:1"}, syscall.ECONNREFUSED, false},
		"no HTTP/2":      {served(t, various), syscall.EPROTO, true},
	} {
		t.Run(name, func(t *testing.T) {
			recorder := &tapes{}
			told := make(chan error, 1)
			tn := &Tunnel{Recorder: recorder, NotHTTP2: func(_ uint16, err error) { told <- err }}
			st, err := connect(t, tn, c.d).copyH2(1, h2request("GET", "/"), nil, true)
			if !errors.Is(err, c.errno) {
				t.Errorf("opened %v: %v, want %v", st != nil, err, c.errno)
			}
			if (len(told) > 0) != c.told {
				t.Errorf("told %d times", len(told))
			}
			if n := len(recorder.all()); n != 0 {
				t.Errorf("%d are recorded", n)
			}
		})
	}
}

// TestACopyOfHTTP2OfTheTimeOfAStopIsRecorded : whole, for a replay.
func TestACopyOfHTTP2OfTheTimeOfAStopIsRecorded(t *testing.T) {
	recorder := &tapes{}
	tn := &Tunnel{Recorder: recorder}
	tn.SetPaused(true)
	st, err := connect(t, tn, servedH2(t, variousH2)).copyH2(1, h2request("POST", "/b"), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := h2.NewWriter(st).Data(large, true); err != nil {
		t.Fatal(err)
	}
	isOver(t, st)
	p := recorder.all()[0]
	testkit.Eventually(t, "its record ends", p.done)
	if _, body := sections(t, p.request); body != string(large) || p.err != nil || !cmp.Equal(p.went, []string{"target: the debugger is stopped"}) {
		t.Errorf("%d bytes went %q, ended: %v", len(body), p.went, p.err)
	}
	tn.SetPaused(false)
	var again tape
	if err := tn.ReplayHTTP2(t.Context(), 80, p.request, &again); err != nil {
		t.Errorf("replayed: %v", err)
	}
}

// TestACopyOfHTTP2ThatIsNotAnswered : it is the debuggee's to refuse or break off; the target has answered.
func TestACopyOfHTTP2ThatIsNotAnswered(t *testing.T) {
	for name, answer := range map[string]func(*h2peer, uint32){
		"reset": func(p *h2peer, id uint32) { _ = p.WriteRSTStream(id, http2.ErrCodeInternal) },
		"half": func(p *h2peer, id uint32) {
			p.say(id, false, ":status", "200")
			_ = p.WriteRSTStream(id, http2.ErrCodeInternal)
		},
		"nothing": func(p *h2peer, _ uint32) { _ = p.conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			recorder := &tapes{}
			a := connect(t, &Tunnel{Recorder: recorder}, rawH2(t, func(p *h2peer) {
				for r := p.request(); r != nil; r = p.request() {
					answer(p, r.StreamID)
				}
			}))
			st, err := a.copyH2(1, h2request("GET", "/"), nil, true)
			if err != nil {
				t.Fatal(err)
			}
			if answer, _ := io.ReadAll(st); len(answer) > 0 {
				t.Errorf("a copy was answered %q", answer)
			}
			_ = st.Close()
			p := recorder.all()[0]
			testkit.Eventually(t, "its record ends", p.done)
			if p.err == nil || !cmp.Equal(p.went, []string{"copy: the target answered its client"}) {
				t.Errorf("went %q, ended: %v", p.went, p.err)
			}
		})
	}
}
