package requests

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/internal/h2"
	"podstep.dev/internal/http1"
	"podstep.dev/internal/wire"
)

// version2 is what a request line of HTTP/2 says, which has none of its own.
const version2 = "HTTP/2"

const (
	// frameHead is the size of a frame's head (RFC 9113 §4.1).
	frameHead = 9
	// maxSections bounds how many header sections are kept of a message beside content: interim responses may come without end.
	maxSections = 16
)

// takeFrames keeps whole frames of a message of HTTP/2: all header sections, and content up to the limit; the log's lock is held.
func (r *Recording) takeFrames(p *part, b []byte) {
	known := p.head
	for len(b) >= frameHead {
		n := min(frameHead+(int(b[0])<<16|int(b[1])<<8|int(b[2])), len(b))
		r.takeFrame(p, b[:n])
		b = b[n:]
	}
	if known == 0 && p.head != 0 {
		r.changed()
	}
}

func (r *Recording) takeFrame(p *part, f []byte) {
	l := r.log
	p.total += int64(len(f))
	isData := http2.FrameType(f[3]) == http2.FrameData
	size := len(f) - frameHead
	if isData {
		p.whole += int64(size)
	}
	if r.record.dropped || !r.record.over.IsZero() {
		return
	}
	keep := size
	switch {
	case isData && size == 0 && http2.Flags(f[4])&http2.FlagDataEndStream == 0:
		return
	case isData:
		keep = min(size, max(0, l.opts.Body-p.content))
		if keep = l.room(keep+frameHead) - frameHead; keep < 0 {
			p.cut = true
			return
		}
		p.content += keep
	case p.head >= maxSections, l.room(len(f)) < len(f):
		p.cut = true
		return
	default:
		p.head++
	}
	if p.cut = p.cut || keep < size; isData && keep == 0 && size > 0 {
		return
	}
	before := cap(p.kept)
	p.kept = append(p.kept, f[:frameHead+keep]...)
	if keep < size {
		head := p.kept[len(p.kept)-keep-frameHead:]
		binary.BigEndian.PutUint32(head, uint32(keep)<<8|uint32(head[3]))
	}
	l.size += cap(p.kept) - before
}

// message2 is a message of HTTP/2 as it was kept.
type message2 struct {
	// head is the request's, or that of the final response; trailer has the fields behind the content.
	head, trailer []hpack.HeaderField
	content       []byte
}

// readMessage2 reads what is kept of a message, and reports whether its head is there.
func readMessage2(kept []byte) (m message2, ok bool) {
	for in := h2.NewReader(bytes.NewReader(kept)); ; {
		f, err := in.Next()
		switch {
		case err != nil:
			return m, m.head != nil
		case f.Fields == nil:
			m.content = append(m.content, f.Data...)
		case m.head == nil || isInterim(m.head):
			m.head = slices.Clone(f.Fields)
		default:
			m.trailer = slices.Clone(f.Fields)
		}
	}
}

func isInterim(head []hpack.HeaderField) bool {
	status := h2.Value(head, ":status")
	return len(status) == 3 && status[0] == '1'
}

// fields2 are those that are shown: an authority is the Host that it stands for (RFC 9113 §8.3.1).
func fields2(section []hpack.HeaderField) (fields []http1.Field) {
	for _, f := range section {
		switch {
		case f.Name == ":authority":
			fields = append([]http1.Field{{Name: "host", Value: f.Value}}, fields...)
		case !f.IsPseudo():
			fields = append(fields, http1.Field{Name: f.Name, Value: f.Value})
		}
	}
	return fields
}

// request is the head in the form of HTTP/1.
func (m message2) request() head {
	h := head{method: h2.Value(m.head, ":method"), target: h2.Value(m.head, ":path"), version: version2, fields: fields2(m.head), body: true}
	if h.target == "" {
		h.target = h2.Value(m.head, ":authority") // of CONNECT
	}
	h.line = strings.Join([]string{h.method, h.target, h.version}, " ")
	return h
}

// response is the head in the form of HTTP/1, and whether there is one of a final response.
func (m message2) response(method string) (head, bool) {
	status, err := strconv.Atoi(h2.Value(m.head, ":status"))
	if err != nil || isInterim(m.head) {
		return head{}, false
	}
	h := head{status: status, fields: fields2(m.head), body: method != http.MethodHead, switched: method == http.MethodConnect && status/100 == 2}
	h.line = strings.TrimRight(fmt.Sprintf("%s %d %s", version2, status, http.StatusText(status)), " ")
	return h, true
}

// show shows one direction.
func (m message2) show(h head, p part, s Secrets) Message {
	h.size = 0
	shown := message(h, part{kept: m.content, total: p.whole}, s)
	shown.Body.Cut = shown.Body.Cut || p.cut
	for _, f := range fields2(m.trailer) {
		shown.Trailers = append(shown.Trailers, Field{f.Name, s.value(f.Name, f.Value)})
	}
	return shown
}

// grpc names the status of a response of gRPC, "" when it has none.
func (m message2) grpc() string {
	for _, section := range [][]hpack.HeaderField{m.trailer, m.head} {
		if code := h2.Value(section, "grpc-status"); code != "" {
			return grpcName(code)
		}
	}
	return ""
}

// grpcName names a status code of gRPC (gRPC, doc/statuscodes.md).
func grpcName(code string) string {
	names := [...]string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
		"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
	if n, err := strconv.Atoi(code); err == nil && n >= 0 && n < len(names) {
		return names[n]
	}
	return code
}

// summary2 adds what a request of HTTP/2 says to its line.
func (r record) summary2(sum Summary, s Secrets) Summary {
	m, ok := readMessage2(r.request.kept)
	if !ok {
		return sum
	}
	h := m.request()
	sum.Method, sum.Protocol = h.method, h.version
	sum.Path, sum.Query, _ = strings.Cut(s.target(h.target), "?")
	if answer, ok := readMessage2(r.response.kept); ok {
		if h, ok := answer.response(sum.Method); ok {
			sum.Status, sum.GRPC = h.status, answer.grpc()
		}
	}
	return sum
}

// entry2 is entry of a request of HTTP/2.
func (r record) entry2(s Secrets) Entry {
	e := Entry{Summary: r.summary(s), Request: Message{Fields: []Field{}}, Seen: r.seen}
	m, ok := readMessage2(r.request.kept)
	if !ok {
		return e
	}
	h := m.request()
	e.Request = m.show(h, r.request, s)
	e.Request.Line = strings.Join([]string{h.method, s.target(h.target), h.version}, " ")
	if answer, ok := readMessage2(r.response.kept); ok {
		if h, ok := answer.response(h.method); ok {
			shown := answer.show(h, r.response, s)
			e.Response = &shown
		}
	}
	return e
}

// endsWhole says whether the request's last frame came.
func (r record) endsWhole() bool {
	for in := h2.NewReader(bytes.NewReader(r.request.kept)); ; {
		if f, err := in.Next(); err != nil || f.End {
			return err == nil
		}
	}
}

// again2 is again of a request of HTTP/2.
func (r record) again2(edited string) ([]byte, error) {
	m, ok := readMessage2(r.request.kept)
	whole := !r.request.cut && r.endsWhole()
	if !ok || edited == "" && !whole {
		return nil, ErrNotWhole
	}
	if h2.Value(m.head, ":method") == http.MethodConnect {
		return nil, ErrSwitched
	}
	if edited == "" {
		return r.request.kept, nil
	}
	e, err := parseEdited(edited, version2)
	if err != nil {
		return nil, err
	}
	plain := r.entry(Plain).Request
	e.unmask(r.entry(Masked).Request, plain)
	content := []byte(e.body)
	if e.body == plain.Body.Text { // as it was shown: it goes as it came
		if !whole {
			return nil, ErrNotWhole
		}
		content = m.content
		for _, f := range plain.Fields {
			if plain.framing(f.Name) {
				e.fields = append(e.fields, f)
			}
		}
	} else if len(content) > 0 {
		e.fields = append(e.fields, Field{"content-length", strconv.Itoa(len(content))})
		m.trailer = nil
	}
	return e.message2(m, content)
}

// message2 is the request, with what cannot be edited as it was.
func (e *edited) message2(was message2, content []byte) ([]byte, error) {
	scheme := h2.Value(was.head, ":scheme")
	if scheme == "" {
		scheme = "http"
	}
	head := []hpack.HeaderField{{Name: ":method", Value: e.method}, {Name: ":scheme", Value: scheme}, {Name: ":path", Value: e.target}}
	if i := slices.IndexFunc(e.fields, isHost); i >= 0 {
		head = append(head, hpack.HeaderField{Name: ":authority", Value: e.fields[i].Value})
		e.fields = slices.Delete(e.fields, i, i+1)
	}
	for _, f := range e.fields {
		head = append(head, hpack.HeaderField{Name: strings.ToLower(f.Name), Value: f.Value})
	}
	raw, err := h2.Begin(head, content, was.trailer == nil)
	if err != nil || was.trailer == nil {
		return raw, err
	}
	var b bytes.Buffer
	b.Write(raw)
	err = h2.NewWriter(&b).Head(was.trailer, true)
	return b.Bytes(), err
}

// isHTTP2 says whether the request came as HTTP/2.
func (e Entry) isHTTP2() bool { return e.Protocol == version2 || e.Protocol == wire.HTTP2 }
