//go:build linux

package incoming

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

// TestRequestWhoseAnswerIsNotHeardHasOneParty : the debuggee may have it when the link is lost, silent, or the session ends, before the agent
// hears whether. Only what may be repeated is the target's then; what was certainly not delivered always is.
func TestRequestWhoseAnswerIsNotHeardHasOneParty(t *testing.T) {
	client := testpod.NewClient(t)
	t.Run("HTTP1", func(t *testing.T) {
		count := &counting{whole: map[string]int{}}
		webTarget(t, testpod.Pod4+":80", count.serve)
		testUnheard(t, count, func(t *testing.T, method, path string) (int, string) {
			c := talk(t, client)
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			c.send(method + " " + path + " HTTP/1.1\r\nHost: shop\r\nX-User: alice\r\nContent-Length: 0\r\n\r\n")
			res, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(res.Body)
			return res.StatusCode, string(text)
		})
	})
	t.Run("HTTP2", func(t *testing.T) {
		count := &counting{whole: map[string]int{}}
		serveH2(t, testpod.Pod4+":80", count.serve)
		testUnheard(t, count, func(t *testing.T, method, path string) (int, string) {
			res, err := askH2(h2Client(t, client, "80"), method, path, "X-User: alice", nil)
			if err != nil {
				t.Fatal(err)
			}
			return res.status, res.body
		})
	})
}

// testUnheard asks in every way of not being heard.
func testUnheard(t *testing.T, count *counting, ask func(t *testing.T, method, path string) (status int, text string)) {
	for name, test := range map[string]struct {
		handle func(f *farEnd, st *mux.Stream)
		// post is what the client of a POST is told, repeat that of a GET.
		post, get int
	}{
		"link lost":     {func(f *farEnd, _ *mux.Stream) { go f.Session.Close() }, 502, 200},
		"silent":        {func(_ *farEnd, st *mux.Stream) { _, _ = io.Copy(io.Discard, st) }, 504, 200},
		"session ended": {func(f *farEnd, _ *mux.Stream) { f.Subscriptions.End(wire.Refusal{Errno: 100}) }, 502, 200},
		"refused":       {func(_ *farEnd, st *mux.Stream) { refuse(st) }, 200, 200},
		"dropped":       {func(_ *farEnd, st *mux.Stream) { st.Reset() }, 200, 200},
	} {
		for _, repeat := range []wire.Repeat{wire.RepeatSafe, wire.RepeatNever} {
			for method, want := range map[string]int{"GET": test.get, "POST": test.post} {
				what := strings.ReplaceAll(name, " ", "-") + "/" + string(repeat) + "/" + method
				t.Run(what, func(t *testing.T) {
					if method == "GET" && repeat == wire.RepeatNever {
						want = test.post
					}
					near, far := net.Pipe()
					f := startFarEndOver(t, near, far, Options{OpenTimeout: 300 * time.Millisecond})
					f.on(func(st *mux.Stream) { test.handle(f, st) })
					p := wantRequests("X-User: alice")
					p.Repeat = repeat
					if _, err := f.Subscribe(t.Context(), p); err != nil {
						t.Fatal(err)
					}
					status, text := ask(t, method, "/"+what)
					if status != want || want != 200 && !strings.HasPrefix(text, "podstep: ") {
						t.Errorf("the client is told %d %q, want %d", status, text, want)
					}
					if n := count.of("/" + what); n != 0 && want != 200 || n != 1 && want == 200 {
						t.Errorf("the target had it %d times", n)
					}
				})
			}
		}
	}
}
