package tunnel

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/internal/filter"
	"podstep.dev/internal/h2"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// sections reads the header sections and the content of what was recorded of a message.
func sections(t *testing.T, b []byte) (heads [][]hpack.HeaderField, body string) {
	t.Helper()
	for r := h2.NewReader(bytes.NewReader(b)); ; {
		f, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return heads, body
		case err != nil:
			t.Fatal(err)
		case f.Fields != nil:
			heads = append(heads, append([]hpack.HeaderField{}, f.Fields...))
		}
		body += string(f.Data)
	}
}

func TestRequestsOfHTTP2AreRecordedAndReplayed(t *testing.T) {
	recorder := &tapes{}
	tn := &Tunnel{Recorder: recorder}
	d := servedH2(t, variousH2)
	a := connect(t, tn, d)
	head := h2request("POST", "/b")
	a.askH2(1, head, large).answered(t, "200", "HTTP/2.0 POST /b 1048576 <nil>")
	p := recorder.all()[0]
	testkit.Eventually(t, "its record ends", p.done)
	heads, body := sections(t, p.request)
	if d := cmp.Diff([][]hpack.HeaderField{head}, heads); d != "" || body != string(large) || p.err != nil {
		t.Errorf("%s, %d bytes, %v", d, len(body), p.err)
	}
	a.askH2(1, head, large).answered(t, "200", "HTTP/2.0 POST /b 1048576 <nil>")
	second := recorder.all()[1]
	testkit.Eventually(t, "its record ends", second.done)
	if from := p.header.From; !slices.Equal(p.seen, []seen{{from, 1}}) || !slices.Equal(second.seen, []seen{{from, 3}}) {
		t.Errorf("seen as %v and %v, came from %v", p.seen, second.seen, from)
	}
	tn.SetPaused(true) // whoever replays knows
	var again tape
	if err := tn.ReplayHTTP2(t.Context(), 80, p.request, &again); err != nil {
		t.Fatal(err)
	}
	if len(again.seen) != 1 || again.seen[0].stream != 1 || !again.seen[0].peer.Addr().IsLoopback() {
		t.Errorf("the replay is seen as %v", again.seen)
	}
	for _, p := range []*tape{p, &again} {
		heads, body := sections(t, p.response)
		if len(heads) != 2 || h2.Value(heads[1], "x-sum") != "1048576" || body != "HTTP/2.0 POST /b 1048576 <nil>" || !cmp.Equal(p.went, []string{"debuggee: "}) {
			t.Errorf("%v %q, %v", heads, body, p.went)
		}
	}
	if n := d.conns.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestAReplayOfHTTP2Fails(t *testing.T) {
	resets := rawH2(t, func(p *h2peer) {
		if r := p.request(); r != nil {
			_ = p.WriteRSTStream(r.StreamID, http2.ErrCodeRefusedStream)
			_ = p.next()
		}
	})
	half := rawH2(t, func(p *h2peer) {
		if r := p.request(); r != nil {
			p.say(r.StreamID, false, ":status", "200")
		}
	})
	for name, c := range map[string]struct {
		d   *debuggee
		raw []byte
		is  error
	}{
		"nobody listens": {&debuggee{addr: "127.0.0.1:1"}, begin(t, h2request("GET", "/")), syscall.ECONNREFUSED},
		"no HTTP/2":      {served(t, various), begin(t, h2request("GET", "/")), syscall.EPROTO},
		"refused":        {resets, begin(t, h2request("GET", "/")), nil},
		"half an answer": {half, begin(t, h2request("GET", "/")), io.ErrUnexpectedEOF},
		"no request":     {half, []byte(get("/")), nil},
	} {
		tn := &Tunnel{Deliver: c.d.deliver}
		var p tape
		if err := tn.ReplayHTTP2(t.Context(), 80, c.raw, &p); err == nil || c.is != nil && !errors.Is(err, c.is) || !p.ended || p.err == nil {
			t.Errorf("%s: %v, recorded %v", name, err, p.err)
		}
	}
}

func TestRulesAreForHTTP2(t *testing.T) {
	recorder, held := &tapes{}, make(chan Held, 1)
	tn := &Tunnel{Recorder: recorder, Pause: patient, Holding: func(h Held) { held <- h }}
	a := connect(t, tn, servedH2(t, variousH2))
	rule := func(text string, r Rule) Rule {
		var err error
		if r.Filter, err = filter.Parse([]byte(text)); err != nil {
			t.Fatal(err)
		}
		return r
	}
	tn.SetRules([]Rule{
		rule(`{"json": {"user": "7"}}`, Rule{Action: ActFail, Answer: Reply{Status: 429, Body: `{"a":1}`}}),
		rule(`{"grpc": {"service": "shop.Cart"}}`, Rule{Action: ActFail, Answer: Reply{Status: 404}}),
		rule(`{"host": "web", "path": "/wait"}`, Rule{Action: ActBreak}),
	})
	kind := []string{"content-type", "application/json"}
	o := a.askH2(1, h2request("POST", "/", kind...), []byte(`{"user":"7"}`))
	o.answered(t, "429", `{"a":1}`)
	a.askH2(1, h2request("POST", "/", kind...), []byte(`{"user":"8"}`)).answered(t, "200", "HTTP/2.0 POST / 12 <nil>")
	if o := a.askH2(1, h2request("POST", "/shop.Cart/Get", "content-type", "application/grpc"), []byte("\x00\x00\x00\x00\x00")); o.value("grpc-status") != "12" {
		t.Error(o)
	}
	done := make(chan h2outcome, 1)
	go func() { done <- a.askH2(1, h2request("POST", "/wait"), large) }()
	h := <-held
	if h.Method != "POST" || h.Path != "/wait" {
		t.Errorf("held %+v", h)
	}
	if err := tn.Release(h.ID, ReleaseDeliver, Reply{}); err != nil {
		t.Error(err)
	}
	(<-done).answered(t, "200", "HTTP/2.0 POST /wait 1048576 <nil>")
}

// TestProbesOfHTTP2 : the debuggee's as long as it answers at once.
func TestProbesOfHTTP2(t *testing.T) {
	tn := &Tunnel{Pause: patient}
	inside := make(chan struct{}, 1)
	a := connect(t, tn, servedH2(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			inside <- struct{}{}
			<-r.Context().Done()
			return
		}
		if r.URL.Path == "/broken" {
			panic(http.ErrAbortHandler)
		}
		variousH2(w, r)
	}))
	probe := func(path string) h2outcome {
		stream, err := a.Open(t.Context(), wire.Header{
			Kind: wire.KindRequest, Port: 80, From: from, To: to, Connection: 1, Request: a.last.Add(1), Protocol: wire.HTTP2, Probe: true,
		}, begin(t, h2request("GET", path)))
		if err != nil {
			return h2outcome{Refused: err}
		}
		defer func() { _ = stream.Close() }()
		_ = stream.CloseWrite()
		return hearH2(stream)
	}
	probe("/").answered(t, "200", "HTTP/2.0 GET / 0 <nil>")
	if o := probe("/slow"); o.Failed == nil || !o.Failed.Fallback {
		t.Errorf("a slow one: %v", o)
	}
	if o := probe("/broken"); o.Failed == nil || !o.Failed.Fallback {
		t.Errorf("one that is reset: %v", o)
	}
	tn.SetPaused(true)
	if o := probe("/"); !(outcome{Refused: o.Refused}).isPaused() {
		t.Errorf("while stopped: %v", o)
	}
}

// TestNodeIsADebuggee : streams of node's http2, with trailers.
func TestNodeIsADebuggee(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("needs node")
	}
	script := `
const server = require('node:http2').createServer({settings: {maxConcurrentStreams: 5}});
server.on('stream', (stream, headers) => {
  let n = 0;
  stream.on('data', b => n += b.length).on('error', () => {});
  stream.on('end', () => {
    stream.respond({':status': 200}, {waitForTrailers: true});
    stream.on('wantTrailers', () => stream.sendTrailers({'x-sum': String(n)}));
    stream.end(headers[':method'] + ' ' + headers[':path'] + ' ' + n);
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));`
	cmd := exec.CommandContext(t.Context(), node, "-e", script)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line := make([]byte, 16)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	d := &debuggee{addr: "127.0.0.1:" + strings.TrimSpace(string(line[:n]))}
	a := connect(t, &Tunnel{}, d)
	done := make(chan h2outcome)
	const clients = 20
	for range clients {
		go func() { done <- a.askH2(1, h2request("POST", "/n"), large) }()
	}
	for range clients {
		select {
		case o := <-done:
			if o.answered(t, "200", "POST /n 1048576"); o.value("x-sum") != "1048576" {
				t.Errorf("trailer of %v", o)
			}
		case <-time.After(testkit.Patience):
			t.Fatal("an answer is missing")
		}
	}
}
