//go:build linux

package intercept_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestResolversAreThePods asks by every way there is: connected and unconnected sockets, with and without a source, by
// messages of one and many pieces, by IPv6, by TCP, and by a stub on loopback.
func TestResolversAreThePods(t *testing.T) {
	l := newLab(t)
	l.pod.names["api.shop"] = []string{"10.96.7.7"}
	for i := range 200 {
		l.pod.names["many.shop"] = append(l.pod.names["many.shop"], fmt.Sprintf("10.1.0.%d", i))
	}
	got := strings.Split(l.run(t, "/usr/bin/python3", "testdata/resolver.py"), "\n")
	want := []string{
		"connected send recv: 10.96.7.7",
		"connected recvfrom: 10.96.7.7 from ('10.96.0.10', 53)",
		"connected names: ('10.96.0.10', 53) 10.244.1.7",
		"sendto recvfrom: 10.96.7.7 from ('10.96.0.10', 53)",
		"sendto recvfrom non-blocking: 10.96.7.7 from ('10.96.0.10', 53)",
		"sendmsg recvmsg: 10.96.7.7 from ('10.96.0.10', 53)",
		"sendmmsg recvmmsg: 2 sent, 10.96.7.7 from ('10.96.0.10', 53)",
		"two resolvers: ('10.96.0.10', 53) ('127.0.0.53', 53)",
		"bound to loopback: 10.96.7.7 from ('10.96.0.10', 53)",
		"mapped: 10.96.7.7 from ::ffff:10.96.0.10",
		"v6: 10.96.7.7 from 2001:db8::53",
		"v6 only: 10.96.7.7 from 2001:db8::53",
		"peek: True ('10.96.0.10', 53)",
		"timeout: EAGAIN",
		"tcp: 10.96.7.7 from ('10.96.0.10', 53)",
		"long: truncated 512 by tcp 200, by EDNS 200",
		"dissolved: ENOTCONN 0.0.0.0",
		"local again: local",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
