package filter

import (
	"strings"
	"sync/atomic"
)

// Fields are a request's field lines in their order: names as they were sent, values without the white space around them. Host is
// one of them.
type Fields interface {
	Len() int
	At(i int) (name, value string)
}

// Field is one field line.
type Field struct{ Name, Value string }

// List is Fields of its own. Whoever has them already implements Fields, on a pointer so that no request costs an allocation.
type List []Field

// Len is the number of lines.
func (l List) Len() int { return len(l) }

// At is line i.
func (l List) At(i int) (name, value string) { return l[i].Name, l[i].Value }

// Request is a request's head.
type Request struct {
	// Method and Target are the request line's, as they were sent.
	Method, Target string
	// Fields may be nil: there are none.
	Fields Fields
}

// Verdict is what a filter says of a request.
type Verdict int

const (
	// No : the request is not wanted.
	No Verdict = iota
	// Yes : the request is wanted.
	Yes
	// NeedsBody : the head does not decide; ask MatchBody.
	NeedsBody
)

// Matcher judges requests, one filter's. It is safe for concurrent use. It counts for the filter's samples, so a subscription keeps one
// for as long as it lasts, and asks it once for each request.
type Matcher struct {
	root    *group
	samples []atomic.Uint64
}

// Matcher makes a matcher with samples that begin.
func (f Filter) Matcher() *Matcher {
	m := &Matcher{root: f.root}
	if n := samplesOf(f.root); n > 0 {
		m.samples = make([]atomic.Uint64, n)
	}
	return m
}

func samplesOf(g *group) (n int) {
	if g == nil {
		return 0
	}
	for _, c := range g.members {
		switch c := c.(type) {
		case *sample:
			n++
		case *group:
			n += samplesOf(c)
		}
	}
	return n
}

// Match judges by the head. It allocates nothing as long as names and values need no decoding.
func (m *Matcher) Match(r Request) Verdict { return m.judge(r, nil) }

// MatchBody judges a request of which Match said NeedsBody. body is its content (without chunks' framing), or the first MaxBody bytes
// or more of it, then complete is false. It keeps nothing of body, and never says NeedsBody.
func (m *Matcher) MatchBody(r Request, body []byte, complete bool) Verdict {
	return m.judge(r, &content{bytes: body, complete: complete && len(body) <= MaxBody})
}

func (m *Matcher) judge(r Request, c *content) Verdict {
	if m.root == nil {
		return Yes
	}
	in := read(r)
	in.body = c
	v := m.root.eval(in)
	if v == pending {
		in.samples = m.samples
		v = m.root.eval(in)
	}
	return v.public()
}

// verdict is what a condition says of a request. The order is that of "and": the least verdict of several counts.
type verdict uint8

const (
	no verdict = iota
	// unread : it is the body that decides.
	unread
	// odd : the request can be read in more than one way. Not odd is odd.
	odd
	// pending : a sample decides, which was not asked.
	pending
	yes
)

func (v verdict) opposite() verdict {
	switch v {
	case no:
		return yes
	case yes:
		return no
	}
	return v
}

func (v verdict) or(w verdict) verdict {
	rank := [...]int{no: 0, odd: 1, pending: 2, unread: 3, yes: 4}
	if rank[w] > rank[v] {
		return w
	}
	return v
}

func (v verdict) public() Verdict {
	switch v {
	case yes:
		return Yes
	case unread:
		return NeedsBody
	}
	return No
}

// input is a request with its target taken apart. It is passed by value: behind a pointer every request would cost an allocation.
type input struct {
	method string
	// path has neither query nor authority. Empty: the target has none ("*", CONNECT).
	path, query string
	// authority is that of a target in absolute form (RFC 9112 §3.2.2).
	authority string
	fields    Fields
	// body is nil when only the head is known.
	body *content
	// samples is nil for whoever must not count.
	samples []atomic.Uint64
}

// dry is in for a condition that must not count.
func (in input) dry() input {
	in.samples = nil
	return in
}

func read(r Request) input {
	in := input{method: r.Method, path: r.Target, fields: r.Fields}
	if r.Fields == nil {
		in.fields = List(nil)
	}
	if r.Method == "CONNECT" || r.Target == "*" {
		in.path = ""
		return in
	}
	if !strings.HasPrefix(r.Target, "/") {
		in.authority, in.path = absolute(r.Target)
	}
	in.path, in.query, _ = strings.Cut(in.path, "?")
	if in.authority != "" && in.path == "" {
		in.path = "/"
	}
	return in
}

// absolute takes scheme and authority off a target; what has none is its own path.
func absolute(target string) (authority, rest string) {
	scheme, rest, found := strings.Cut(target, "://")
	if !found || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", target
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	return rest[:end], rest[end:]
}
