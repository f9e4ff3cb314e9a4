//go:build linux

package incoming

import (
	"net"
	"net/netip"
	"strconv"
	"testing"

	"podstep.dev/agent/internal/testpod"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestStealGivesTheAdapterTheTruePeer(t *testing.T) {
	client := testpod.NewClient(t)
	f := startFarEnd(t, Options{})
	f.on(answer("from the debuggee"))
	f.steal(t, 80)
	for url, want := range map[string][2]string{
		"http://" + testpod.Pod4 + "/":  {testpod.Client4, testpod.Pod4},
		"http://[" + testpod.Pod6 + "]": {testpod.Client6, testpod.Pod6},
	} {
		if got := curl(t, client, url); got != "from the debuggee" {
			t.Errorf("%s: %q", url, got)
		}
		headers := f.seen()
		h := headers[len(headers)-1]
		if h.From.Addr() != netip.MustParseAddr(want[0]) || h.To != netip.AddrPortFrom(netip.MustParseAddr(want[1]), 80) || h.Port != 80 {
			t.Errorf("%s: from %s to %s port %d", url, h.From, h.To, h.Port)
		}
	}
}

func TestRefusedConnectionIsPassedThrough(t *testing.T) {
	client := testpod.NewClient(t)
	target(t, "0.0.0.0:80")
	target(t, "[::1]:81")
	f := startFarEnd(t, Options{})
	f.on(refuse)
	f.steal(t, 80)
	for _, test := range []struct{ to, want string }{
		{testpod.Pod4 + ":80", "target saw " + testpod.Client4 + "\n"},
	} {
		c, err := client.Dial(test.to)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := say(t, c, "hello"); got != test.want {
			t.Errorf("%s: %q, %v; want %q", test.to, got, err, test.want)
		}
	}
	_ = net.IPv4len
}
