package requests

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"podstep.dev/internal/http1"
	"podstep.dev/internal/wire"
)

// Summary is one line about a request.
type Summary struct {
	// ID numbers the requests of a session, from 1.
	ID   uint64    `json:"id"`
	Came time.Time `json:"came"`
	// Port of the target that it came to.
	Port uint16 `json:"port"`
	// Peer is who sent it. A replay has none.
	Peer netip.AddrPort `json:"peer,omitzero"`
	// Protocol is as the request says it ("HTTP/1.1"), or as the agent does when it cannot be read.
	Protocol string `json:"protocol"`
	// TLS says that it came encrypted; the agent took that off.
	TLS bool `json:"tls,omitempty"`
	// Method, Path and Query are empty until the request's head is there.
	Method string `json:"method"`
	Path   string `json:"path"`
	Query  string `json:"query,omitempty"`
	// Status of the final response, 0 while there is none.
	Status int `json:"status,omitempty"`
	// GRPC names the status of a response of gRPC ("OK", "NOT_FOUND").
	GRPC string `json:"grpc,omitempty"`
	// Went says where it went ([Debuggee], [Target], [Nobody] or, as long as it waits, [Held] or [Delayed]), Why says why.
	Went string `json:"went,omitempty"`
	Why  string `json:"why,omitempty"`
	// Delivered is when the debuggee was given it, if it was.
	Delivered time.Time `json:"delivered,omitzero"`
	// Done says that it is over, Failed what it ended with, if not in order.
	Done   bool   `json:"done"`
	Failed string `json:"failed,omitempty"`
	// FirstByte is when the response began and Took when the request was over, both in milliseconds after it came; 0 before.
	FirstByte float64 `json:"firstByteMs,omitempty"`
	Took      float64 `json:"tookMs,omitempty"`
	// ReplayOf is the id of the request that this one repeats.
	ReplayOf uint64 `json:"replayOf,omitempty"`
}

// Entry is a request with its response.
type Entry struct {
	Summary
	Request Message `json:"request"`
	// Response is nil while there is none.
	Response *Message `json:"response,omitempty"`
	// Seen is the zero value when the debuggee did not get it. It is of no use to people.
	Seen Seen `json:"-"`
}

// Seen is how the debuggee sees a request.
type Seen struct {
	// Peer is the other end of the connection that it is on. That of a replay is the session's own.
	Peer netip.AddrPort
	// Stream of that connection, of HTTP/2; else 0.
	Stream uint32
}

// Message is a head and a body.
type Message struct {
	// Line is the request line or the status line.
	Line   string  `json:"line"`
	Fields []Field `json:"fields"`
	Body   Body    `json:"body"`
	// Trailers are the fields behind the body, of HTTP/2.
	Trailers []Field `json:"trailers,omitempty"`
}

// Field is a header field as it was sent.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Value returns the first field of that name, "" when there is none.
func (m Message) Value(name string) string {
	for _, f := range m.Fields {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// target is the request line's.
func (m Message) target() string {
	_, rest, _ := strings.Cut(m.Line, " ")
	target, _, _ := strings.Cut(rest, " ")
	return target
}

// summary shows r in a line.
func (r record) summary(s Secrets) Summary {
	sum := Summary{
		ID: r.id, Came: r.came, Port: r.header.Port, Peer: r.header.From, Protocol: r.header.Protocol, TLS: r.header.TLS != nil,
		Went: r.went, Why: r.why, Delivered: r.delivered, Done: !r.over.IsZero(), Failed: r.failed, ReplayOf: r.replayOf,
		FirstByte: milliseconds(r.came, r.first), Took: milliseconds(r.came, r.over),
	}
	switch r.header.Protocol {
	case wire.HTTP1:
	case wire.HTTP2:
		return r.summary2(sum, s)
	default:
		return sum
	}
	if h, ok := readRequest(r.request.kept); ok {
		sum.Method, sum.Protocol = h.method, h.version
		sum.Path, sum.Query, _ = strings.Cut(s.target(h.target), "?")
		if h, ok := readResponse(r.response.kept, h.method); ok {
			sum.Status = h.status
		}
	}
	return sum
}

// entry shows all of r.
func (r record) entry(s Secrets) Entry {
	if r.header.Protocol == wire.HTTP2 {
		return r.entry2(s)
	}
	e := Entry{Summary: r.summary(s), Seen: r.seen}
	request, ok := readRequest(r.request.kept)
	if !ok || e.Method == "" {
		e.Request = Message{Fields: []Field{}, Body: shown(r.request.kept, r.request.total)}
		return e
	}
	e.Request = message(request, r.request, s)
	e.Request.Line = strings.Join([]string{request.method, s.target(request.target), request.version}, " ")
	if response, ok := readResponse(r.response.kept, request.method); ok {
		m := message(response, r.response, s)
		e.Response = &m
	} else if e.Done && r.response.total > 0 { // what it answered is no HTTP/1
		e.Response = &Message{Fields: []Field{}, Body: shown(r.response.kept, r.response.total)}
	}
	return e
}

// message shows one direction.
func message(h head, p part, s Secrets) Message {
	m := Message{Line: h.line, Fields: make([]Field, 0, len(h.fields))}
	for _, f := range h.fields {
		m.Fields = append(m.Fields, Field{f.Name, s.value(f.Name, f.Value)})
	}
	data, coding := decode(h, p.kept[h.size:])
	m.Body = shown(data, p.total-int64(h.size))
	if !h.body {
		m.Body = Body{Size: m.Body.Size}
		return m
	}
	m.Body.Cut = m.Body.Cut || int64(len(p.kept)) < p.total
	m.Body.Coding = coding
	m.Body.Text = s.text(h.value("Content-Type"), m.Body.Text)
	return m
}

func milliseconds(from, to time.Time) float64 {
	if to.IsZero() {
		return 0
	}
	return float64(to.Sub(from).Microseconds()) / 1000
}

// head is the head of a message.
type head struct {
	line                    string
	method, target, version string // of a request
	status                  int    // of a response
	fields                  []http1.Field
	body                    bool // what follows is a body
	switched                bool // what follows is of another protocol
	size                    int  // with what is before it, as interim responses, and the empty line behind it
}

func (h head) value(name string) string {
	for _, f := range h.fields {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// readRequest reads the head that b begins with, if it is whole and in order.
func readRequest(b []byte) (head, bool) {
	r, err := http1.ParseRequest(b)
	if err != nil || r == nil {
		return head{}, false
	}
	h := head{method: r.Method, target: r.Target, version: fmt.Sprintf("HTTP/1.%d", r.Minor), fields: r.Fields, size: len(r.Raw)}
	h.line = strings.Join([]string{h.method, h.target, h.version}, " ")
	h.body = r.Body.Kind != http1.None
	return h, true
}

// readResponse reads the head of the final response to a request of that method, if it is whole and in order.
func readResponse(b []byte, method string) (head, bool) {
	before := 0
	for {
		r, err := http1.ParseResponse(b[before:], method)
		if err != nil || r == nil {
			return head{}, false
		}
		before += len(r.Raw)
		if !r.Interim {
			line, _, _ := strings.Cut(string(r.Raw), "\n")
			return head{
				line: strings.TrimRight(line, "\r "), status: r.Status, fields: r.Fields, size: before,
				body: r.Body.Kind != http1.None && !r.Switched, switched: r.Switched,
			}, true
		}
	}
}
