package http1

import "bytes"

// ParseResponse reads the head at b's beginning, of a response to a request of this method. It gives nil and no error when it
// needs more bytes; b is then shorter than MaxHead. Its errors are as those of [ParseRequest].
//
// It is as strict as ParseRequest where a response could be read in two ways, and lenient where servers are careless and nobody
// is misled: a reason may be empty, or be missing with the space before it. It does not know whether it was asked for another protocol.
func ParseResponse(b []byte, method string) (*Response, error) {
	if n := min(len(b), len(prefix)); string(b[:n]) != prefix[:n] {
		return nil, ErrNotHTTP
	}
	lf := bytes.IndexByte(b[:min(len(b), MaxHead)], '\n')
	r := &Response{}
	if lf >= 0 {
		if err := r.cutStatusLine(b[:lf]); err != nil {
			return nil, err
		}
	}
	end, n, err := findEnd(b, 0)
	if err != nil || end == 0 {
		return nil, err
	}
	var f framing
	if r.Fields, err = f.cutFields(string(b[lf+1:end]), n); err != nil {
		return nil, err
	}
	r.Raw = b[:end:end]
	if err := r.judge(&f, method); err != nil {
		return nil, err
	}
	return r, nil
}

// cutStatusLine cuts a line that begins as a response's does, without its line feed (RFC 9112 §4).
func (r *Response) cutStatusLine(line []byte) (err error) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	if !only(line, text) {
		return odd("a control byte in the status line (RFC 9112 §2.2, §4)")
	}
	version, rest, _ := bytes.Cut(line, []byte(" "))
	if r.Minor, err = cutVersion(string(version)); err != nil {
		return err
	}
	status, _, _ := bytes.Cut(rest, []byte(" "))
	if len(status) != 3 {
		return odd("a status that is not of three digits (RFC 9112 §4)")
	}
	for _, c := range status {
		if c < '0' || c > '9' {
			return odd("a status that is not of three digits (RFC 9112 §4)")
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 {
		return odd("a status below 100 (RFC 9110 §15)")
	}
	return nil
}

// judge says what comes behind the head (RFC 9112 §6.3).
func (r *Response) judge(f *framing, method string) (err error) {
	body, err := f.body(r.Minor, UntilClose)
	if err != nil {
		return err
	}
	r.Switched = r.Status == 101 || method == "CONNECT" && r.Status/100 == 2
	r.Interim = r.Status/100 == 1 && !r.Switched
	switch {
	case r.Switched, r.Interim:
		return nil
	case method == "HEAD", r.Status == 204, r.Status == 304:
	default:
		r.Body = body
	}
	r.Close = f.closes(r.Minor) || r.Body.Kind == UntilClose
	return nil
}
