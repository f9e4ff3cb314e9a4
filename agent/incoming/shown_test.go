//go:build linux

package incoming

import (
	"io"
	"net"
	"testing"

	"podstep.dev/agent/internal/testpod"
)

// TestConnectionFromAPortThatWasShownBeforeIsNotTouched makes a direct connection with the addresses that an earlier
// session showed the target: what the kernel remembers of that one must not be applied to this one.
func TestConnectionFromAPortThatWasShownBeforeIsNotTouched(t *testing.T) {
	client := testpod.NewClient(t)
	shown := make(chan string, 16)
	targetOf(t, testpod.Pod4+":80", func(c *net.TCPConn) {
		shown <- c.RemoteAddr().String()
		_, _ = io.Copy(c, c)
	})
	f := startFarEnd(t, Options{})
	f.on(refuse)
	f.steal(t, 80)
	c := dial(t, client, testpod.Pod4+":80")
	expect(t, c, "hello")
	from := <-shown
	_ = c.CloseWrite()
	_, _ = io.ReadAll(c)
	_ = c.Close()
	if err := f.Subscriptions.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	direct, err := client.DialFrom(from, testpod.Pod4+":80")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, direct, "hello")
	again := startFarEnd(t, Options{})
	again.on(refuse)
	again.steal(t, 80)
	expect(t, direct, "hello")
}
