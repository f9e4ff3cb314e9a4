//go:build linux

package incoming

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/splice"
)

// TestLargeBodiesArePassedOnWhole : both ways, with and without memory for pipes, large buffers and wide sockets, with a length, in chunks
// and without either, each followed by another request. Without wide sockets none may wait for the kernel's persist timer.
func TestLargeBodiesArePassedOnWhole(t *testing.T) {
	const size = 6 << 20
	client := testpod.NewClient(t)
	want := make([]byte, size)
	for i := range want {
		want[i] = byte(i * 7 >> 3)
	}
	webTarget(t, testpod.Pod4+":80", func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		switch {
		case err != nil:
			return
		case r.Method == http.MethodPost:
			_, _ = fmt.Fprint(w, bytes.Equal(got, want))
			return
		case r.URL.Path == "/length":
			w.Header().Set("Content-Length", strconv.Itoa(size))
		}
		for rest := want; len(rest) > 0; {
			n, err := w.Write(rest[:min(len(rest), 300<<10)])
			if err != nil {
				return
			}
			rest = rest[n:]
		}
	})
	for name, memory := range map[string]*Memory{
		"memory": NewMemory(16<<20, 100, splice.NewBuffers(4<<20)),
		"none":   NewMemory(16<<20, 100, splice.NewBuffers(0)),
	} {
		t.Run(name, func(t *testing.T) {
			if name == "none" {
				memory.sockets = newBudget(0)
			}
			f := startFarEnd(t, Options{Memory: memory})
			f.stealRequests(t, "X-User: alice")
			transport := &http.Transport{DialContext: func(_ context.Context, _, addr string) (net.Conn, error) { return client.Dial(addr) }, MaxConnsPerHost: 1}
			defer transport.CloseIdleConnections()
			began := time.Now()
			for range 2 {
				for _, path := range []string{"/length", "/chunks"} {
					res, err := (&http.Client{Transport: transport}).Get("http://" + testpod.Pod4 + path)
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(res.Body)
					_ = res.Body.Close()
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s: %d bytes of %d, %v", path, len(got), size, err)
					}
				}
				for _, body := range []io.Reader{bytes.NewReader(want), struct{ io.Reader }{bytes.NewReader(want)}} {
					res, err := (&http.Client{Transport: transport}).Post("http://"+testpod.Pod4+"/", "a/b", body)
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(res.Body)
					_ = res.Body.Close()
					if string(got) != "true" || err != nil {
						t.Errorf("the target got another body: %q, %v", got, err)
					}
				}
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("%d MiB took %s", 8*size>>20, took)
			}
		})
	}
}
