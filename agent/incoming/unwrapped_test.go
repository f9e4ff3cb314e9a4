//go:build linux

package incoming

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/testkit/authority"
)

// TestUnwrappedConnectionsTakeTheMemoryTheyAreChargedFor : beside what those without TLS take, when both have carried whole records each way.
func TestUnwrappedConnectionsTakeTheMemoryTheyAreChargedFor(t *testing.T) {
	if testpod.Ordinary() {
		t.Skip("needs root: the same program is measured once, where it can be built")
	}
	const n = 300
	client := testpod.NewClient(t)
	a := authority.New(t)
	web := a.Issue("web", "web.test")
	l, err := tls.Listen("tcp", testpod.Pod4+":80", &tls.Config{Certificates: []tls.Certificate{web}})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	body := strings.Repeat("b", 64<<10)
	response := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	for _, l := range []net.Listener{l, plain} {
		serveEach(t, l, func(c net.Conn) {
			all := make([]byte, len(post("/", "", len(body))))
			for {
				if _, err := io.ReadFull(c, all); err != nil {
					return
				}
				_, _ = io.WriteString(c, response)
			}
		})
	}
	pid := startConversing(t, lean(t), func(st *mux.Stream) { refuse(st) }, a.Dir)
	each := func(dial func() net.Conn) int {
		before, _ := resident(t, pid)
		for range n {
			c := dial()
			sent := make(chan struct{})
			go func() { defer close(sent); _, _ = io.WriteString(c, post("/", "", len(body))) }()
			got := make([]byte, len(response))
			if _, err := io.ReadFull(c, got); err != nil || !bytes.HasSuffix(got, []byte(body)) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			<-sent
		}
		after, _ := resident(t, pid)
		t.Logf("%s without clients, %s with %d", before, after, n)
		return (kib(t, after) - kib(t, before)) / n
	}
	without := each(func() net.Conn {
		c, err := net.Dial("tcp", "127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	})
	with := each(func() net.Conn {
		return tls.Client(dial(t, client, testpod.Pod4+":80"), &tls.Config{ServerName: "web.test", RootCAs: a.Pool()})
	})
	t.Logf("%d KiB each, %d KiB with TLS", without, with)
	if with-without > unwrappedCost>>10 {
		t.Errorf("TLS takes %d KiB, and %d are charged", with-without, unwrappedCost>>10)
	}
}
