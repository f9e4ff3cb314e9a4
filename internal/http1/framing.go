package http1

import (
	"math"
	"strings"
)

// framing is what the fields say of a message's end and of its connection.
type framing struct {
	host                            string
	length                          int64
	hosts, lengths, codings         int
	close, keepAlive                bool
	upgrade, upgrades, wantContinue bool
}

// note takes in one field. The lengths of names are compared first: most fields end there.
func (f *framing) note(field Field) error {
	name, value := field.Name, field.Value
	switch {
	case len(name) == 4 && equal(name, "Host"):
		f.hosts++
		f.host = value
		if !only(value, host) {
			return odd("a Host that is no host and port (RFC 9112 §3.2)")
		}
	case len(name) == 6 && equal(name, "Expect"):
		f.wantContinue = f.wantContinue || listHas(value, "100-continue")
	case len(name) == 7 && equal(name, "Upgrade"):
		f.upgrades = true
	case len(name) == 10 && equal(name, "Connection"):
		f.close = f.close || listHas(value, "close")
		f.keepAlive = f.keepAlive || listHas(value, "keep-alive")
		f.upgrade = f.upgrade || listHas(value, "upgrade")
	case len(name) == 14 && equal(name, "Content-Length"):
		f.lengths++
		return f.noteLength(value)
	case len(name) == 17 && equal(name, "Transfer-Encoding"):
		f.codings++
		if !equal(value, "chunked") {
			return odd("a transfer coding that is not chunked alone (RFC 9112 §6.1)")
		}
	}
	return nil
}

// noteLength is strict: a list of equal lengths, which RFC 9110 §8.6 lets a recipient take for one, is read by its first, its last
// or not at all.
func (f *framing) noteLength(value string) error {
	if value == "" {
		return odd("an empty Content-Length (RFC 9110 §8.6)")
	}
	f.length = 0
	for i := range len(value) {
		digit := int64(value[i]) - '0'
		if digit < 0 || digit > 9 {
			return odd("a Content-Length that is not of digits (RFC 9110 §8.6)")
		}
		if f.length > (math.MaxInt64-digit)/10 {
			return odd("a Content-Length beyond 63 bits (RFC 9110 §8.6)")
		}
		f.length = f.length*10 + digit
	}
	return nil
}

// body says how the body of a message ends that has one (RFC 9112 §6.3); without says how, when the fields do not.
func (f *framing) body(minor int, without Kind) (Body, error) {
	switch {
	case f.lengths > 1:
		return Body{}, odd("several Content-Length (RFC 9112 §6.3)")
	case f.codings > 1:
		return Body{}, odd("several Transfer-Encoding (RFC 9112 §6.1)")
	case f.codings > 0 && f.lengths > 0:
		return Body{}, odd("both Transfer-Encoding and Content-Length (RFC 9112 §6.1)")
	case f.codings > 0 && minor == 0:
		return Body{}, odd("a Transfer-Encoding in HTTP/1.0 (RFC 9112 §6.1)")
	case f.codings > 0:
		return Body{Kind: Chunked}, nil
	case f.length > 0:
		return Body{Kind: Length, Length: f.length}, nil
	case f.lengths > 0:
		return Body{}, nil
	}
	return Body{Kind: without}, nil
}

// closes says whether the connection ends with the message (RFC 9112 §9.3).
func (f *framing) closes(minor int) bool { return f.close || minor == 0 && !f.keepAlive }

// checkHost sees that there is one host only, whatever part of the request is read for it (RFC 9112 §3.2, §3.2.2).
func (f *framing) checkHost(minor int, target string) error {
	switch {
	case f.hosts > 1:
		return odd("several Host (RFC 9112 §3.2)")
	case f.hosts == 0 && minor > 0:
		return odd("no Host (RFC 9112 §3.2)")
	}
	if a, absolute := authority(target); absolute && f.hosts > 0 && !equal(a, f.host) {
		return odd("a Host that is not the target's (RFC 9112 §3.2.2)")
	}
	return nil
}

// authority is the host and port that a target in absolute form names (RFC 9112 §3.2.2).
func authority(target string) (string, bool) {
	if target[0] == '/' {
		return "", false
	}
	_, rest, _ := strings.Cut(target, ":")
	rest, absolute := strings.CutPrefix(rest, "//")
	if !absolute {
		return "", false
	}
	if end := strings.IndexAny(rest, "/?"); end >= 0 {
		rest = rest[:end]
	}
	return rest, true
}
