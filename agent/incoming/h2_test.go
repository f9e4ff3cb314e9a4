//go:build linux

package incoming

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/wire"
)

// h2Course is a client, a target at ports 80 and 81, and a debuggee at port 90 that gets what a session asks for.
func h2Course(t *testing.T, p wire.SubscribeParams) (*testpod.Client, *farEnd) {
	t.Helper()
	client := testpod.NewClient(t)
	serveH2(t, "[::]:80", says("target"))
	serveH2(t, "[::]:81", says("target"))
	serveH2(t, "127.0.0.1:90", says("debuggee"))
	f := startFarEnd(t, Options{})
	f.on(debuggeeH2(t, "127.0.0.1:90"))
	f.subscribe(t, p)
	return client, f
}

func TestStreamsOfOneConnectionGoToWhomTheyAreFor(t *testing.T) {
	client, f := h2Course(t, wantRequests("X-User: alice"))
	c := h2Client(t, client, "80")
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			who, header := "target", ""
			if i%3 == 0 {
				who, header = "debuggee", "X-User: alice"
			}
			size, method := i*5000, "POST"
			if i%2 == 0 {
				size, method = 0, "GET"
			}
			got, err := askH2(c, method, fmt.Sprintf("/%d", i), header, bytes.NewReader(make([]byte, size)))
			want := fmt.Sprintf("%s: HTTP/2.0 %s /%d %d <nil> from ", who, method, i, size)
			if err != nil || !strings.HasPrefix(got.body, want) || got.trailer.Get("X-Length") != itoa(size)+" " {
				t.Errorf("%d: %+v, %v, want %q", i, got, err, want)
			}
			if who == "target" && !strings.HasSuffix(got.body, testpod.Client4) {
				t.Errorf("the target saw %q", got.body)
			}
		})
	}
	all.Wait()
	seen := f.seen()
	for _, h := range seen {
		if h.Connection != seen[0].Connection || h.From.Addr().String() != testpod.Client4 || h.Port != 80 {
			t.Errorf("%+v", h)
		}
	}
	if len(seen) != 20 {
		t.Errorf("%d requests were offered, want 20", len(seen))
	}
	c.CloseIdleConnections()
	f.freed(t)
}

func TestLargeContentBothWaysAtOnce(t *testing.T) {
	client, f := h2Course(t, wantRequests("X-User: alice"))
	c := h2Client(t, client, "80")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			header := ""
			if i%2 == 0 {
				header = "X-User: alice"
			}
			got, err := askH2(c, http.MethodPost, "/big", header, io.LimitReader(zeros{}, 10<<20))
			if err != nil || len(got.body) < 10<<20 || !strings.Contains(got.body[:100], "POST /big 10485760 <nil>") {
				t.Errorf("%d bytes, %v", len(got.body), err)
			}
		})
	}
	all.Wait()
	c.CloseIdleConnections()
	f.freed(t)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
