package requests

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"podstep.dev/internal/wire"
)

// Summary is one line about a request.
type Summary struct {
	// ID numbers the requests of a session, from 1.
	ID   uint64    `json:"id"`
	Came time.Time `json:"came"`
	// Port of the target that it came to.
	Port uint16         `json:"port"`
	Peer netip.AddrPort `json:"peer,omitzero"`
	// Protocol is as the request says it ("HTTP/1.1"), or as the agent does when it cannot be read.
	Protocol string `json:"protocol"`
	// Method, Path and Query are empty until the request's head is there.
	Method string `json:"method"`
	Path   string `json:"path"`
	Query  string `json:"query,omitempty"`
	// Status of the final response, 0 while there is none.
	Status int `json:"status,omitempty"`
	// Went says where it went ([Debuggee], [Target] or [Podstep]), Why says why.
	Went string `json:"went,omitempty"`
	Why  string `json:"why,omitempty"`
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
}

// Message is a head and a body.
type Message struct {
	// Line is the request line or the status line.
	Line   string  `json:"line"`
	Fields []Field `json:"fields"`
	Body   Body    `json:"body"`
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
		ID: r.id, Came: r.came, Port: r.header.Port, Peer: r.header.From, Protocol: r.header.Protocol,
		Went: r.went, Why: r.why, Done: !r.over.IsZero(), Failed: r.failed, ReplayOf: r.replayOf,
		FirstByte: milliseconds(r.came, r.first), Took: milliseconds(r.came, r.over),
	}
	if r.header.Protocol != wire.HTTP1 {
		return sum
	}
	if m, ok := readHead(r.request.kept); ok {
		line := strings.SplitN(m.line, " ", 3)
		for len(line) < 3 {
			line = append(line, "")
		}
		sum.Method, sum.Protocol = line[0], line[2]
		sum.Path, sum.Query, _ = strings.Cut(s.target(line[1]), "?")
	}
	if m, ok := readResponse(r.response.kept); ok {
		sum.Status = m.status()
	}
	return sum
}

// entry shows all of r.
func (r record) entry(s Secrets) Entry {
	e := Entry{Summary: r.summary(s)}
	request, ok := readHead(r.request.kept)
	if !ok {
		e.Request = Message{Fields: []Field{}, Body: shown(r.request.kept, r.request.total)}
		return e
	}
	e.Request = message(request, r.request, s)
	if response, ok := readResponse(r.response.kept); ok {
		m := message(response, r.response, s)
		if response.status() == 101 || e.Method == "HEAD" {
			m.Body = Body{Size: m.Body.Size}
		}
		e.Response = &m
	}
	return e
}

// message shows one direction.
func message(h head, p part, s Secrets) Message {
	m := Message{Line: h.line, Fields: make([]Field, 0, len(h.fields))}
	if !strings.HasPrefix(h.line, "HTTP/") {
		if parts := strings.SplitN(h.line, " ", 3); len(parts) == 3 {
			m.Line = strings.Join([]string{parts[0], s.target(parts[1]), parts[2]}, " ")
		}
	}
	for _, f := range h.fields {
		m.Fields = append(m.Fields, Field{f.Name, s.value(f.Name, f.Value)})
	}
	data, coding := decode(h, p.kept[h.size:])
	m.Body = shown(data, p.total-int64(h.size))
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
	line   string
	fields []Field
	size   int // with what is before it (interim responses) and the empty line behind it
}

func (h head) value(name string) string { return Message{Fields: h.fields}.Value(name) }

// status of a response's head, 0 when it has none.
func (h head) status() int {
	_, rest, _ := strings.Cut(h.line, " ")
	code, _, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(code)
	if err != nil {
		return 0
	}
	return n
}

// readHead reads the head that b begins with, if it is whole. What is odd in it is shown as it is: this decides nothing.
func readHead(b []byte) (h head, ok bool) {
	text, _, ok := strings.Cut(string(b[:min(len(b), maxShownHead)]), "\r\n\r\n")
	if !ok {
		return head{}, false
	}
	lines := strings.Split(text, "\r\n")
	h = head{line: lines[0], size: len(text) + 4}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		h.fields = append(h.fields, Field{name, strings.Trim(value, " \t")})
	}
	return h, true
}

// readResponse reads the head of the final response, if it is whole.
func readResponse(b []byte) (head, bool) {
	before := 0
	for {
		h, ok := readHead(b[before:])
		if !ok {
			return head{}, false
		}
		before += h.size
		if status := h.status(); status < 100 || status >= 200 || status == 101 {
			h.size = before
			return h, true
		}
	}
}
