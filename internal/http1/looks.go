package http1

// maxWord bounds a method and the scheme of a target in bytes: so long a stranger's bytes stay undecided. The longest registered
// method has 17 (RFC 9110 §16.1.1).
const maxWord = 64

// LooksLike tells whether bytes from a client may be the beginning of an HTTP/1 request; without enough, more of them are needed to tell.
//
// It says no at the first byte that no request has there, and yes at the first byte of a target that no other form of a target can
// begin with: a method, a space, and a slash, or the colon behind a scheme (RFC 9112 §3). What follows is [ParseRequest]'s to
// judge: a yes may still come to be ErrNotHTTP, at the latest when the line is whole, but what ParseRequest accepts is never a no.
//
// Some protocols begin with a bare word and wait for the answer (ZooKeeper's "ruok"), so whoever asks for more has to have an end
// to its patience, and to take silence for a no.
func LooksLike(b []byte) (is, enough bool) {
	at, ok := start(b)
	if !ok {
		return false, len(b) > 1
	}
	b = b[at:]
	n := word(b, token)
	switch {
	case n > maxWord:
		return false, true
	case n == len(b):
		return false, false
	case n == 0 || b[n] != ' ':
		return false, true
	}
	return looksLikeTarget(b[:n], b[n+1:])
}

// start is where the request line begins: behind the one empty line that a server skips (RFC 9112 §2.2), which some clients
// send behind a body. It is not ok when a carriage return begins something else, or nothing yet.
func start(b []byte) (at int, ok bool) {
	if len(b) == 0 || b[0] != '\r' {
		return 0, true
	}
	return 2, len(b) > 1 && b[1] == '\n'
}

// word is the length of the bytes of a class at b's beginning, maxWord+1 at most.
func word(b []byte, what class) (n int) {
	for n < len(b) && n <= maxWord && is(b[n], what) {
		n++
	}
	return n
}

func looksLikeTarget(method, target []byte) (yes, enough bool) {
	if len(target) == 0 {
		return false, false
	}
	switch c := target[0]; {
	case c == '/':
		return true, true
	case c == ' ': // servers skip it (RFC 9112 §3), so this is HTTP, though odd
		return true, true
	case c == '*': // with PRI it is how HTTP/2 begins (RFC 9113 §3.4), a method that HTTP/1 never has
		return string(method) != "PRI", true
	case string(method) == "CONNECT":
		return is(c, host), true
	case !isLetter(c):
		return false, true
	}
	n := 1
	for n < len(target) && n <= maxWord && isScheme(target[n]) {
		n++
	}
	if n == len(target) && n <= maxWord {
		return false, false
	}
	return n <= maxWord && target[n] == ':', true
}

// isScheme tells the bytes of a scheme behind its first (RFC 3986 §3.1).
func isScheme(c byte) bool {
	return isLetter(c) || '0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'
}
