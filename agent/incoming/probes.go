//go:build linux

package incoming

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
)

const (
	// maxHead is how many bytes of a connection are looked at to tell whether it is a probe; a kubelet's request is far
	// smaller.
	maxHead = 8 << 10
	// prober begins the User-Agent of a kubelet's HTTP probes (kubernetes, pkg/probe/http).
	prober = "kube-probe/"
)

// probes are the request targets of a port's HTTP probes. A kubelet makes a connection for each probe.
type probes []string

// newProbes takes the paths as a pod's spec has them.
func newProbes(paths []string) probes {
	if len(paths) == 0 {
		return nil
	}
	p := make(probes, len(paths))
	for i, path := range paths {
		p[i] = requestTarget(path)
	}
	return p
}

// requestTarget is what a kubelet asks for when its probe has this path (kubernetes, pkg/probe/http/request.go).
func requestTarget(path string) string {
	u, err := url.Parse(path)
	if err != nil {
		u = &url.URL{Path: path}
	}
	u.Scheme, u.Host = "http", "pod"
	if u, err = url.Parse(u.String()); err != nil {
		return path
	}
	return u.RequestURI()
}

// verdict says whether a connection is a probe.
type verdict int

const (
	// undecided : more of its head is needed.
	undecided verdict = iota
	isProbe
	noProbe
)

// judge looks at the beginning of what a client sends. It is a probe when its first request is a GET of HTTP/1.0 or 1.1
// for exactly one of the targets, by a kubelet.
func (p probes) judge(head []byte) verdict {
	if len(p) == 0 {
		return noProbe
	}
	line, rest, whole := bytes.Cut(head, []byte("\n"))
	if !whole {
		if !p.mayBegin(line) {
			return noProbe
		}
		return tooLong(head)
	}
	if !p.asks(strings.TrimSuffix(string(line), "\r")) {
		return noProbe
	}
	for {
		if line, rest, whole = bytes.Cut(rest, []byte("\n")); !whole {
			return tooLong(head)
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\r"), ":")
		switch {
		case name == "":
			// The end of the head.
			return noProbe
		case strings.EqualFold(name, "User-Agent"):
			if strings.HasPrefix(strings.TrimLeft(value, " \t"), prober) {
				return isProbe
			}
			return noProbe
		}
	}
}

// tooLong is the verdict on a head whose end is missing.
func tooLong(head []byte) verdict {
	if len(head) >= maxHead {
		return noProbe
	}
	return undecided
}

// has says whether a request target is one of the probes'.
func (p probes) has(target string) bool { return slices.Contains(p, target) }

// asks says whether a request line asks for one of the targets.
func (p probes) asks(line string) bool {
	for _, target := range p {
		if begin := "GET " + target + " HTTP/1."; line == begin+"0" || line == begin+"1" {
			return true
		}
	}
	return false
}

// mayBegin says whether part is the beginning of a request line that asks for one of the targets.
func (p probes) mayBegin(part []byte) bool {
	for _, target := range p {
		for _, version := range []string{"1.0", "1.1"} {
			if strings.HasPrefix("GET "+target+" HTTP/"+version+"\r", string(part)) {
				return true
			}
		}
	}
	return false
}
