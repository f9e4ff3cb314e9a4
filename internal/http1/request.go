package http1

import (
	"bytes"
	"strings"
)

// ParseRequest reads the head at b's beginning. It gives nil and no error when it needs more bytes; b is then shorter than MaxHead.
// An error is ErrNotHTTP, ErrLong, or wraps ErrOdd and says what is odd without quoting it; it stays whatever bytes follow.
//
// An empty line before the request line is part of Raw, so that no byte is lost. Not every server skips it, Go's only behind
// a POST: whoever gives the request to another server than the one before may leave these two bytes off. They are no request
// when the connection ends with them.
func ParseRequest(b []byte) (*Request, error) {
	if looks, enough := LooksLike(b); !enough {
		return nil, nil
	} else if !looks {
		return nil, ErrNotHTTP
	}
	from, _ := start(b)
	lf := bytes.IndexByte(b[from:min(len(b), MaxHead)], '\n')
	var line requestLine
	if lf >= 0 {
		var err error
		if line, err = cutRequestLine(b[from : from+lf]); err != nil {
			return nil, err
		}
	}
	end, n, err := findEnd(b, from)
	if err != nil || end == 0 {
		return nil, err
	}
	s := string(b[from:end])
	var f framing
	fields, err := f.cutFields(s[lf+1:], n)
	if err != nil {
		return nil, err
	}
	r := &Request{
		Raw:    b[:end:end],
		Method: s[:line.method], Target: s[line.method+1 : line.target], Minor: line.minor,
		Fields: fields,
	}
	if err := r.judge(&f); err != nil {
		return nil, err
	}
	return r, nil
}

// requestLine has the ends of a line's method and target, and its version.
type requestLine struct{ method, target, minor int }

// cutRequestLine cuts a line that [LooksLike] a request's, without its line feed (RFC 9112 §3).
func cutRequestLine(line []byte) (l requestLine, err error) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	if !only(line, text) {
		return l, odd("a control byte in the request line (RFC 9112 §2.2, §3)")
	}
	words := bytes.TrimRight(line, " \t")
	l.target = bytes.LastIndexAny(words, " \t")
	if l.minor, err = cutVersion(string(words[l.target+1:])); err != nil {
		return l, err
	}
	l.method = bytes.IndexByte(line, ' ')
	if len(words) < len(line) || l.target == l.method+1 || bytes.IndexByte(line, '\t') >= 0 || bytes.Count(line, []byte(" ")) != 2 {
		return l, odd("other white space in the request line than two spaces (RFC 9112 §3)")
	}
	return l, checkTarget(string(line[:l.method]), string(line[l.method+1:l.target]))
}

// checkTarget sees that the target is of one of the four forms, that of its method (RFC 9112 §3.2). What is in a path or a query
// is not looked at.
func checkTarget(method, target string) error {
	if strings.IndexByte(target, '#') >= 0 {
		return odd("a fragment in the target (RFC 9112 §3.2)")
	}
	switch connect := method == "CONNECT"; {
	case connect:
		if !only(target, host) {
			return odd("a CONNECT to what is no host and port (RFC 9112 §3.2.3)")
		}
	case target[0] == '/':
	case target[0] == '*':
		if target != "*" || method != "OPTIONS" {
			return odd("an asterisk in the target, and not of OPTIONS (RFC 9112 §3.2.4)")
		}
	default:
		if a, absolute := authority(target); !absolute || a == "" || !only(a, host) {
			return odd("a target that names no host (RFC 9112 §3.2.2)")
		}
	}
	return nil
}

// judge says what comes behind the head.
func (r *Request) judge(f *framing) (err error) {
	if err = f.checkHost(r.Minor, r.Target); err != nil {
		return err
	}
	if r.Body, err = f.body(r.Minor, None); err != nil {
		return err
	}
	connect := r.Method == "CONNECT"
	if connect && r.Body.Kind != None {
		return odd("a CONNECT with a body, which may as well be of the tunnel (RFC 9110 §9.3.6)")
	}
	r.Close = f.closes(r.Minor)
	r.Switch = connect || f.upgrades && f.upgrade
	// Without a body there is nothing to wait with, and HTTP/1.0 does not know it (RFC 9110 §10.1.1).
	r.Expect = f.wantContinue && r.Minor > 0 && r.Body.Kind != None
	return nil
}
