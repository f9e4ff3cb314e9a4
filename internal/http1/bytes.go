package http1

import "strings"

// class is a set of bytes.
type class byte

const (
	token class = 1 << iota // of methods and names of fields: RFC 9110 §5.6.2
	text                    // of values, reasons and extensions of chunks: RFC 9110 §5.5, white space and obs-text included
	host                    // of the authority that a request names: RFC 3986 §3.2.2 and §3.2.3, but see hostBytes
)

const (
	alphanumeric = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	tokenBytes   = alphanumeric + "!#$%&'*+-.^_`|~"
	// hostBytes lack three that the grammar has: a comma, which is how two fields are joined (RFC 9110 §5.2), a per cent
	// sign, which some decode and others do not, and with it the zone of an address.
	hostBytes = alphanumeric + "-._~!$&'()*+;=:[]"
)

// classes of each byte; written nowhere else.
var classes = func() (t [256]class) {
	for c := range t {
		if c >= ' ' && c != 0x7f || c == '\t' {
			t[c] |= text
		}
	}
	for _, c := range []byte(tokenBytes) {
		t[c] |= token
	}
	for _, c := range []byte(hostBytes) {
		t[c] |= host
	}
	return t
}()

func is(c byte, what class) bool { return classes[c]&what != 0 }

// only tells whether s consists of such bytes.
func only[T string | []byte](s T, what class) bool {
	for i := range len(s) {
		if !is(s[i], what) {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// hex is the value of a digit, or -1.
func hex(c byte) int64 {
	switch {
	case '0' <= c && c <= '9':
		return int64(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int64(c|0x20-'a') + 10
	}
	return -1
}

// equal compares names and tokens, of which the letters' case does not count. What folds to an ASCII letter and is none, as the
// Kelvin sign, is longer in bytes.
func equal(a, b string) bool {
	return len(a) == len(b) && strings.EqualFold(a, b)
}
