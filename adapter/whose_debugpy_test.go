package adapter

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/wire"
)

// TestScopesOfDebugpyHaveTheRequestOfTheThread : what the program's own code was called with says whose it is, also where no frame of the server is
// shown. Flask and Starlette are played by what they give to a view.
func TestScopesOfDebugpyHaveTheRequestOfTheThread(t *testing.T) {
	source, err := os.ReadFile("testdata/python/served.py")
	check(t, err)
	for how, mark := range map[string]string{"wsgi": "wsgi", "wsgiref": "wsgi", "flask": "flask", "asgi": "asgi", "starlette": "starlette"} {
		t.Run(how, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "served.py")
			check(t, os.WriteFile(file, source, 0o644))
			b, ctx := startSession(t, nil), patiently(t)
			b.initialize(ctx, "debugpy")
			check(t, b.Launch(ctx, map[string]any{
				"type": "debugpy", "request": "launch", "program": file, "python": pythonPath(t), "console": "internalConsole", "args": []string{how},
				"mirror": map[string]any{"target": "process/1"},
			}, map[string][]int{file: {desk.LineOf(t, file, "# <- "+mark)}}))
			out, err := b.Output(ctx, "port ")
			check(t, err)
			_, port, _ := strings.Cut(out, "port ")
			for id, guest := range []string{"", "ann", "ben"} {
				if guest != "" {
					b.comes(ctx, id, guest, "127.0.0.1:"+strings.Fields(port)[0])
				}
			}
			stop, err := b.Stopped(ctx)
			check(t, err)
			frames, err := b.Frames(ctx, stop.ThreadID)
			check(t, err)
			var got map[string]string
			var guest, id string
			testkit.Eventually(t, "the scope has one request", func() bool { // a machine that is busy needs more than one attempt
				got, err = b.Variables(ctx, frames[0].ID)
				check(t, err)
				guest = strings.Trim(got["guest"], "'")
				id = map[string]string{"ann": "#1", "ben": "#2"}[guest]
				return got["#1"] == "" || got["#2"] == ""
			})
			if want := "GET /" + guest + " from "; id == "" || !strings.HasPrefix(got[id], want) || got["#1"] != "" && got["#2"] != "" {
				t.Errorf("stopped for %s, the scope has %q and %q", guest, got["#1"], got["#2"])
			}
			b.request(ctx, "disconnect", map[string]any{})
			b.over(nil)
		})
	}
}

// comes has a request come over a connection of its own.
func (b *bench) comes(ctx context.Context, id int, guest, address string) {
	b.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	check(b.t, err)
	b.t.Cleanup(func() { _ = conn.Close() })
	head := fmt.Sprintf("GET /%s HTTP/1.1\r\nHost: shop\r\nX-Id: %s\r\n\r\n", guest, guest)
	peer := conn.LocalAddr().(*net.TCPAddr).AddrPort()
	r := b.borrow.log.Begin(wire.Header{Port: 80, Protocol: wire.HTTP1, From: peer})
	r.Request([]byte(head))
	r.SeenAs(netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()), 0)
	r.Went(requests.Debuggee, "")
	_, err = conn.Write([]byte(head))
	check(b.t, err)
	if r.ID() != uint64(id) {
		b.t.Fatalf("request %d is %d", id, r.ID())
	}
}
