package filter

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a filter, and where.
type Problem struct {
	// Offset is in bytes from the beginning of the text.
	Offset int
	// Path leads to the value: "any[1].header.x-user.regex". Empty for the filter as a whole.
	Path string
	// Text says what is wrong and what would be right.
	Text string
}

// Problems is everything that is wrong with a filter, in the order of the text. It is Parse's error.
type Problems []Problem

// Error lists all problems on one line.
func (ps Problems) Error() string {
	all := make([]string, len(ps))
	for i, p := range ps {
		if all[i] = p.Text; p.Path != "" {
			all[i] = p.Path + ": " + p.Text
		}
	}
	return strings.Join(all, "; ")
}

// Keys lists the keys of a filter's objects.
func Keys() []string {
	return []string{"method", "host", "path", "header", "query", "cookie", "baggage", "tracestate", "grpc", "json", "all", "any", "not", "sample"}
}

// Parse reads a filter's JSON form. Its error is Problems.
func Parse(text []byte) (Filter, error) {
	if len(text) > MaxSize {
		return Filter{}, Problems{{0, "", fmt.Sprintf("longer than %d KiB", MaxSize>>10)}}
	}
	root, err := tree(text)
	if err != nil {
		return Filter{}, Problems{{root.offset, "", "not JSON: " + err.Error()}}
	}
	p := &parser{}
	g := p.object(root, "", 0)
	if p.conditions > MaxConditions {
		p.add(root.offset, "", "more than %d conditions", MaxConditions)
	}
	if len(p.problems) > 0 {
		slices.SortStableFunc(p.problems, func(a, b Problem) int { return a.Offset - b.Offset })
		return Filter{}, p.problems
	}
	return Filter{g}, nil
}

// parser collects problems. What it returns beside one is not used.
type parser struct {
	problems            Problems
	conditions, samples int
}

// maxProblems is how many are told.
const maxProblems = 100

func (p *parser) add(offset int, path, format string, args ...any) {
	if len(p.problems) < maxProblems {
		p.problems = append(p.problems, Problem{offset, path, fmt.Sprintf(format, args...)})
	}
}

// object reads one object of conditions; depth counts those around it.
func (p *parser) object(n node, path string, depth int) *group {
	g := &group{op: opObject}
	if depth > MaxDepth {
		p.add(n.offset, path, "more than %d levels deep", MaxDepth)
		return g
	}
	for name, e := range p.entries(n, path) {
		at := below(path, name)
		if !slices.Contains(Keys(), name) {
			p.unknown(e.offset, at, name, Keys())
			continue
		}
		g.members = append(g.members, p.conditionsOf(name, e.value, at, depth)...)
	}
	if n.token == json.Delim('{') && len(n.members) == 0 {
		p.add(n.offset, path, "empty; want a condition, for example {\"header\": {\"x-user\": \"alice\"}}")
	}
	slices.SortStableFunc(g.members, func(a, b condition) int { return cmp.Compare(rank(a), rank(b)) })
	return g
}

// rank orders the conditions of an object: by kind, then by name.
func rank(c condition) string {
	switch c := c.(type) {
	case *compare:
		return string(rune('a'+c.kind)) + c.name
	case *group:
		return "y" + c.key()
	}
	return "z"
}

// conditionsOf reads the value of one key.
func (p *parser) conditionsOf(name string, n node, path string, depth int) []condition {
	switch name {
	case "all", "any":
		return p.list(name, n, path, depth)
	case "not":
		p.conditions++
		return []condition{&group{op: opNot, members: []condition{p.object(n, path, depth+1)}}}
	case "grpc":
		p.conditions++
		return []condition{p.grpc(n, path)}
	case "sample":
		p.conditions++
		return []condition{p.sample(n, path)}
	}
	k := kind(slices.IndexFunc(kinds(), func(k kind) bool { return k.String() == name }))
	if !k.named() {
		p.conditions++
		return []condition{&compare{kind: k, pattern: p.pattern(k, n, path)}}
	}
	return p.named(k, n, path)
}

func kinds() []kind {
	return []kind{kindMethod, kindHost, kindPath, kindHeader, kindQuery, kindCookie, kindBaggage, kindTracestate, kindJSON}
}

func (p *parser) list(name string, n node, path string, depth int) []condition {
	p.conditions++
	g := &group{op: opAll}
	if name == "any" {
		g.op = opAny
	}
	switch {
	case n.token != json.Delim('['):
		p.wrong(n, path, "a list of filters")
	case len(n.items) == 0:
		p.add(n.offset, path, "empty; want a filter in it")
	}
	for i, item := range n.items {
		g.members = append(g.members, p.object(item, path+"["+strconv.Itoa(i)+"]", depth+1))
	}
	return []condition{g}
}

// named reads {"NAME": PATTERN}.
func (p *parser) named(k kind, n node, path string) (all []condition) {
	names := map[string]bool{}
	for name, e := range p.entries(n, path) {
		p.conditions++
		at := below(path, name)
		c := &compare{kind: k, name: name}
		if err := c.setName(name); err != nil {
			p.add(e.offset, at, "%v", err)
		}
		if names[c.name] {
			p.add(e.offset, at, "given twice")
		}
		names[c.name] = true
		c.pattern = p.pattern(k, e.value, at)
		all = append(all, c)
	}
	if n.token == json.Delim('{') && len(n.members) == 0 {
		p.add(n.offset, path, "empty; want a name with what its value must be")
	}
	return all
}

func (p *parser) grpc(n node, path string) *group {
	g := &group{op: opGRPC}
	offset := n.offset
	for name, e := range p.entries(n, path) {
		at := below(path, name)
		switch name {
		case "service":
			g.service, offset = p.text(e.value, at), e.value.offset
			if !isDotted(g.service) {
				p.add(e.value.offset, at, "want the full name of a service, for example shop.v1.Cart, got %s", e.value.describe())
			}
		case "method":
			g.method = p.text(e.value, at)
			if !isDotted(g.method) || strings.Contains(g.method, ".") {
				p.add(e.value.offset, at, "want the name of a method, for example GetItem, got %s", e.value.describe())
			}
		default:
			p.unknown(e.offset, at, name, []string{"service", "method"})
		}
	}
	if g.service == "" && offset == n.offset {
		p.add(n.offset, path, `no "service"; want its full name, for example {"service": "shop.v1.Cart"}`)
	}
	g.members = call(g.service, g.method)
	return g
}

// call is what makes a request one of gRPC (PROTOCOL-HTTP2.md of grpc/grpc, Requests).
func call(service, method string) []condition {
	path := pattern{op: opPrefix, text: "/" + service + "/"}
	if method != "" {
		path = pattern{op: opExact, text: "/" + service + "/" + method}
	}
	return []condition{
		&compare{kind: kindMethod, pattern: pattern{op: opOneOf, list: []string{"POST"}}},
		&compare{kind: kindPath, pattern: path},
		&compare{kind: kindHeader, name: "content-type", pattern: pattern{op: opPrefix, text: "application/grpc"}},
	}
}

func isDotted(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || strings.ContainsFunc(part, func(c rune) bool { return c != '_' && (c > 0x7f || !isAlphanumeric(byte(c))) }) {
			return false
		}
	}
	return true
}

func (p *parser) sample(n node, path string) *sample {
	s := &sample{index: p.samples}
	p.samples++
	for name, e := range p.entries(n, path) {
		at := below(path, name)
		number, _ := e.value.token.(json.Number)
		count, err := strconv.ParseUint(number.String(), 10, 31)
		switch {
		case name != "every" && name != "first":
			p.unknown(e.offset, at, name, []string{"every", "first"})
		case err != nil || count == 0:
			p.add(e.value.offset, at, "want a whole number from 1, got %s", e.value.describe())
		case name == "every":
			s.every = count
		default:
			s.first = count
		}
	}
	if n.token == json.Delim('{') && len(n.members) != 1 {
		p.add(n.offset, path, `want one of {"every": 10} and {"first": 5}`)
	}
	return s
}

// entries yields an object's entries in order and reports keys that come twice; anything else is reported and yields nothing.
func (p *parser) entries(n node, path string) func(func(string, entry) bool) {
	return func(yield func(string, entry) bool) {
		if n.token != json.Delim('{') {
			p.wrong(n, path, "an object")
			return
		}
		seen := map[string]bool{}
		for _, e := range n.members {
			if seen[e.name] {
				p.add(e.offset, below(path, e.name), "given twice")
				continue
			}
			seen[e.name] = true
			if !yield(e.name, e) {
				return
			}
		}
	}
}

func (p *parser) text(n node, path string) string {
	s, ok := n.token.(string)
	if !ok {
		p.wrong(n, path, "a string")
	}
	return s
}

func (p *parser) wrong(n node, path, want string) {
	p.add(n.offset, path, "want %s, got %s", want, n.describe())
}

func (p *parser) unknown(offset int, path, name string, known []string) {
	if near := nearest(name, known); near != "" {
		p.add(offset, path, "unknown key; did you mean %q?", near)
		return
	}
	p.add(offset, path, "unknown key; known are %s", strings.Join(known, ", "))
}

func below(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
