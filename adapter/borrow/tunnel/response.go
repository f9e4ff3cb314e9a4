package tunnel

import (
	"io"

	"podstep.dev/internal/http1"
)

// response reads one response from a leg, byte for byte: interim ones and one final one, and then io.EOF. Where HTTP does not
// say where it ends, or says it ambiguously, it ends with the connection.
type response struct {
	from   io.Reader
	method string
	// switched is called when what follows is another protocol's.
	switched func()

	// head are the bytes of a head that is not complete.
	head []byte
	// body is nil while a head is read.
	body *http1.Scanner
	// plain says that only the connection's end ends it.
	plain bool
	over  bool
	// keep says that the leg can carry another request after it.
	keep bool
}

// Read gives io.ErrUnexpectedEOF when the debuggee ended the connection in the midst of a response, io.EOF only at its end.
func (r *response) Read(b []byte) (int, error) {
	if r.over {
		return 0, io.EOF
	}
	n, err := r.from.Read(b)
	if used := r.take(b[:n]); used < n {
		n, r.keep = used, false // nobody asked for more
	}
	if r.over {
		return n, nil
	}
	if err == io.EOF && !r.plain {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// take says how many of the bytes belong to the response.
func (r *response) take(b []byte) (used int) {
	for used < len(b) && !r.over {
		switch {
		case r.plain:
			return len(b)
		case r.body == nil:
			used += r.takeHead(b[used:])
		default:
			used += r.takeBody(b[used:])
		}
	}
	return used
}

func (r *response) takeHead(b []byte) int {
	before := len(r.head)
	r.head = append(r.head, b...)
	parsed, err := http1.ParseResponse(r.head, r.method)
	switch {
	case err != nil:
		r.plain, r.head = true, nil
		return len(b)
	case parsed == nil:
		return len(b)
	}
	r.head = nil
	switch {
	case parsed.Interim:
	case parsed.Switched:
		r.plain = true
		r.switched()
	case parsed.Body.Kind == http1.UntilClose:
		r.plain = true
	default:
		r.keep = !parsed.Close
		r.body = parsed.Body.Scanner()
		r.takeBody(nil) // one without a body is over
	}
	return len(parsed.Raw) - before
}

func (r *response) takeBody(b []byte) int {
	n, done, err := r.body.Take(b)
	if err != nil {
		r.plain, r.keep = true, false
		return len(b)
	}
	r.over = done
	return n
}
