package filter

import (
	"fmt"
	"strings"
)

// condition is a node of the tree.
type condition interface {
	// eval judges a request.
	eval(in input) verdict
	// alternatives are the ways to meet the condition, or to meet its opposite.
	alternatives(opposite bool) (ways, bool)
	// put adds the condition to the JSON object that it is in.
	put(object map[string]any)
	// String says it on one line.
	String() string
}

// operator says how a group's members are joined.
type operator uint8

const (
	// opObject joins the conditions of one JSON object: all of them.
	opObject operator = iota
	opAll
	opAny
	opNot
	opGRPC
)

// group is several conditions that are joined. Of opNot it has one member.
type group struct {
	op      operator
	members []condition
	// service and method are those of opGRPC; the members say what they mean.
	service, method string
}

func (g *group) eval(in input) verdict {
	switch g.op {
	case opAny:
		return g.any(in)
	case opNot:
		return g.members[0].eval(in).opposite()
	}
	return g.all(in)
}

// all asks the samples last, and only when everything else is met.
func (g *group) all(in input) verdict {
	v, dry := yes, in.dry()
	for _, c := range g.members {
		if v = min(v, c.eval(dry)); v == no {
			return no
		}
	}
	if v != pending || in.samples == nil {
		return v
	}
	for _, c := range g.members {
		if c.eval(dry) != pending {
			continue
		}
		if v := c.eval(in); v != yes {
			return v
		}
	}
	return yes
}

func (g *group) any(in input) verdict {
	v, dry := no, in.dry()
	for _, c := range g.members {
		if v = v.or(c.eval(dry)); v == yes {
			return yes
		}
	}
	if v != pending || in.samples == nil {
		return v
	}
	v = no
	for _, c := range g.members {
		if v = v.or(c.eval(in)); v == yes {
			return yes
		}
	}
	return v
}

func (g *group) object() map[string]any {
	object := map[string]any{}
	for _, c := range g.members {
		c.put(object)
	}
	return object
}

func (g *group) put(object map[string]any) {
	switch g.op {
	case opObject:
		panic("filter: an object stands in no object by itself") // the parser puts a group between
	case opGRPC:
		call := map[string]any{"service": g.service}
		if g.method != "" {
			call["method"] = g.method
		}
		object["grpc"] = call
	case opNot:
		object["not"] = g.members[0].(*group).object()
	default:
		var list []any
		for _, c := range g.members {
			list = append(list, c.(*group).object())
		}
		object[g.key()] = list
	}
}

func (g *group) key() string {
	return [...]string{opObject: "", opAll: "all", opAny: "any", opNot: "not", opGRPC: "grpc"}[g.op]
}

func (g *group) String() string {
	switch {
	case g.op == opGRPC && g.method != "":
		return "gRPC " + g.service + "/" + g.method
	case g.op == opGRPC:
		return "gRPC " + g.service
	case g.op == opNot:
		return "not " + enclosed(g.members[0])
	case g.op == opObject:
		return join(g.members, " and ", enclosedAny)
	case g.op == opAny:
		return join(g.members, " or ", enclosed)
	}
	return join(g.members, " and ", enclosed)
}

func join(members []condition, by string, say func(condition) string) string {
	if len(members) == 1 {
		return members[0].String()
	}
	words := make([]string, len(members))
	for i, c := range members {
		words[i] = say(c)
	}
	return strings.Join(words, by)
}

// enclosed is for what stands behind "not" or beside "or".
func enclosed(c condition) string {
	if g, ok := c.(*group); ok && g.op != opGRPC && g.op != opNot {
		if len(g.members) == 1 {
			return enclosed(g.members[0])
		}
		return "(" + g.String() + ")"
	}
	if _, ok := c.(*sample); ok {
		return "(" + c.String() + ")"
	}
	return c.String()
}

// enclosedAny is for what stands beside "and".
func enclosedAny(c condition) string {
	if g, ok := c.(*group); ok && g.op == opAny {
		return enclosed(c)
	}
	return c.String()
}

// sample lets through one in every, or the first so many, of the requests that reach it.
type sample struct {
	every, first uint64
	// index is that of its count in a matcher.
	index int
}

func (s *sample) eval(in input) verdict {
	if in.samples == nil {
		return pending
	}
	n := in.samples[s.index].Add(1)
	if s.every > 0 && (n-1)%s.every == 0 || n <= s.first {
		return yes
	}
	return no
}

func (s *sample) put(object map[string]any) {
	if s.every > 0 {
		object["sample"] = map[string]any{"every": s.every}
	} else {
		object["sample"] = map[string]any{"first": s.first}
	}
}

func (s *sample) String() string {
	if s.every > 0 {
		return fmt.Sprintf("1 in %d", s.every)
	}
	return fmt.Sprintf("the first %d", s.first)
}
