package filter

import "strings"

// kind is a place in a request that a value is taken from.
type kind uint8

// The order is that in which the conditions of an object are asked: what costs least comes first.
const (
	kindMethod kind = iota
	kindHost
	kindPath
	kindHeader
	kindQuery
	kindCookie
	kindBaggage
	kindTracestate
	kindJSON
)

// String is the kind's key.
func (k kind) String() string {
	return [...]string{"method", "host", "path", "header", "query", "cookie", "baggage", "tracestate", "json"}[k]
}

// named tells kinds of which a request has many values, by name, from those of which it has one.
func (k kind) named() bool { return k >= kindHeader }

// found says how a value was found.
type found uint8

const (
	absent found = iota
	present
	// structured : it is an object or a list of a body, which only "present" has a use for.
	structured
	// ambiguous : there are several, or one that servers read in different ways.
	ambiguous
	// unclear : whether there is one depends on who reads the request.
	unclear
	// notRead : it is in a body that is not known.
	notRead
)

// compare holds one value of a request to a pattern.
type compare struct {
	kind kind
	// name is the header's in small letters, the parameter's, the path into a body. Empty for a kind that is not named.
	name    string
	steps   []step // of kindJSON
	pattern pattern
}

func (c *compare) eval(in input) verdict {
	value, f := c.find(in)
	v := c.pattern.test(value, f)
	// Servers split a path at an encoded slash, or do not: it has to be met either way.
	if c.kind == kindPath && f == present && hasEncodedSlash(value) && c.pattern.test(decodeSlashes(value), f) != v {
		return odd
	}
	return v
}

// find returns the value in the form that patterns are for.
func (c *compare) find(in input) (string, found) {
	switch c.kind {
	case kindMethod:
		return in.method, present
	case kindHost:
		return host(in)
	case kindPath:
		return pathOf(in.path)
	case kindHeader:
		return header(in.fields, c.name)
	case kindQuery:
		return query(in.query, c.name)
	case kindCookie:
		return cookie(in.fields, c.name)
	case kindBaggage:
		return baggage(in.fields, c.name)
	case kindTracestate:
		return tracestate(in.fields, c.name)
	}
	return inBody(in, c.steps)
}

func (c *compare) put(object map[string]any) {
	value := c.pattern.value(c.kind)
	if !c.kind.named() {
		object[c.kind.String()] = value
		return
	}
	names, ok := object[c.kind.String()].(map[string]any)
	if !ok {
		names = map[string]any{}
		object[c.kind.String()] = names
	}
	names[c.name] = value
}

func (c *compare) String() string {
	what := c.kind.String()
	if c.kind == kindJSON {
		what = "JSON"
	}
	if c.kind.named() {
		what += " " + printable(c.name)
	}
	switch c.pattern.op {
	case opPresent:
		return "with " + what
	case opAbsent:
		return "without " + what
	case opOneOf:
		return what + " " + strings.Join(c.pattern.list, " or ")
	}
	return what + " " + c.pattern.String()
}
