//go:build linux

package incoming

import (
	"strings"
	"testing"
)

func TestRequestTargetIsWhatAKubeletAsksFor(t *testing.T) {
	for path, want := range map[string]string{
		"":                "/",
		"/":               "/",
		"/healthz":        "/healthz",
		"healthz":         "/healthz",
		"/h?deep=1&x=%20": "/h?deep=1&x=%20",
		"/a b":            "/a%20b",
		"/h#part":         "/h",
		"?q":              "/?q",
	} {
		if got := requestTarget(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

func TestJudgeKnowsProbes(t *testing.T) {
	const agent = "User-Agent: kube-probe/1.37\r\n"
	p := newProbes([]string{"/healthz", "/ready?deep=1"})
	for head, want := range map[string]verdict{
		"GET /healthz HTTP/1.1\r\nHost: a\r\n" + agent:                         isProbe,
		"GET /ready?deep=1 HTTP/1.1\r\n" + agent:                               isProbe,
		"GET /healthz HTTP/1.0\r\nuser-AGENT:kube-probe/1.9+\r\n":              isProbe,
		"GET /healthz HTTP/1.1\nHost: a\nUSER-AGENT:\t kube-probe/\n":          isProbe,
		"GET /healthz HTTP/1.1\r\nX: User-Agent: kube-probe/1\r\n\r\n" + agent: noProbe,
		"GET /healthz HTTP/1.1\r\nUser-Agent: curl/8\r\n":                      noProbe,
		"GET /healthz HTTP/1.1\r\nUser-Agent: my kube-probe/1\r\n":             noProbe,
		"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n":                             noProbe,
		"GET /healthz HTTP/1.1\r\nUser-Agent: curl/8\r\n" + agent:              noProbe,
		"HEAD /healthz HTTP/1.1\r\n" + agent:                                   noProbe,
		"get /healthz HTTP/1.1\r\n" + agent:                                    noProbe,
		"GET /healthz/ HTTP/1.1\r\n" + agent:                                   noProbe,
		"GET /Healthz HTTP/1.1\r\n" + agent:                                    noProbe,
		"GET /healthz?deep=1 HTTP/1.1\r\n" + agent:                             noProbe,
		"GET /ready HTTP/1.1\r\n" + agent:                                      noProbe,
		"GET /healthz HTTP/2\r\n" + agent:                                      noProbe,
		"GET /healthz HTTP/1.11\r\n" + agent:                                   noProbe,
		"GET /healthz\r\n" + agent:                                             noProbe,
		"\x16\x03\x01":                                                         noProbe,
		"P":                                                                    noProbe,
		"GET /heal":                                                            undecided,
		"":                                                                     undecided,
		"GET /healthz HTTP/1.1\r\nUser-Agent: kube-pro":                        undecided,
		"GET /healthz HTTP/1.1\r\nX: " + strings.Repeat("x", maxHead):          noProbe,
		"GET /healthz HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", maxHead):      noProbe,
	} {
		if got := p.judge([]byte(head)); got != want {
			t.Errorf("%.60q: %d, want %d", head, got, want)
		}
	}
}

func TestJudgeNeedsNoMoreThanTheLineThatDecides(t *testing.T) {
	p := newProbes([]string{"/healthz"})
	const probe = "GET /healthz HTTP/1.1\r\nHost: 10.0.0.1:8080\r\nUser-Agent: kube-probe/1.37\r\n"
	for n := range len(probe) {
		if got := p.judge([]byte(probe[:n])); got != undecided {
			t.Errorf("after %d bytes: %d", n, got)
		}
	}
	if got := p.judge([]byte(probe)); got != isProbe {
		t.Errorf("whole: %d", got)
	}
	// Other requests wait for nothing.
	if got := p.judge([]byte("GET /h ")); got != noProbe {
		t.Errorf("another path: %d", got)
	}
}

func TestJudgeWithoutProbesAsksForNothing(t *testing.T) {
	if got := newProbes(nil).judge(nil); got != noProbe {
		t.Errorf("%d, want %d", got, noProbe)
	}
}
