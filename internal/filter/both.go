package filter

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp/syntax"
	"slices"
	"strings"
)

// Both says for people why one request can match both filters, with an example if one is found. It is for filters that are not
// Disjoint.
func Both(a, b Filter) string {
	switch {
	case a.IsZero() && b.IsZero():
		return "both want every request"
	case a.IsZero() || b.IsZero():
		return "one of them wants every request"
	case a.Equal(b):
		return "they are the same filter"
	}
	var found example
	_, ok := common(a, b, func(facts []fact) bool {
		e, built := exampleOf(facts)
		if built && e.matches(a) && e.matches(b) {
			found = e
			return true
		}
		return false
	})
	if ok && found.request.Method != "" {
		return "both match " + found.String()
	}
	return "nothing in them keeps a request from matching both"
}

// example is a request that was made up.
type example struct {
	request Request
	fields  List
	body    []byte
}

func (e example) matches(f Filter) bool {
	in := read(e.request)
	in.body = &content{e.body, true}
	v := f.root.eval(in)
	return v == yes || v == pending
}

// String is "GET /api/x with x-user: alice and cookie: a=b".
func (e example) String() string {
	s := e.request.Method + " " + printable(e.request.Target)
	for i, f := range e.fields {
		s += []string{" with ", " and "}[min(i, 1)] + fmt.Sprintf("%s: %s", f.Name, printableText(f.Value))
	}
	if len(e.body) > 0 {
		s += fmt.Sprintf(" and the body %s", e.body)
	}
	return s
}

func printableText(s string) string { return strings.Trim(fmt.Sprintf("%q", s), `"`) }

// exampleOf makes a request up that is as the facts have it, without promising it.
func exampleOf(facts []fact) (example, bool) {
	e := example{request: Request{Method: "GET", Target: "/"}}
	var parameters []string
	lists := map[kind][]string{}
	var body any
	for i, f := range facts {
		if slices.ContainsFunc(facts[:i], f.sameplace) {
			continue
		}
		value, there, ok := newClaim(facts, f).example(f.kind)
		if !ok {
			return e, false
		}
		if !there {
			continue
		}
		switch f.kind {
		case kindMethod:
			e.request.Method = value
		case kindPath:
			e.request.Target = value
		case kindHost:
			e.fields = append(e.fields, Field{"host", value})
		case kindHeader:
			e.fields = append(e.fields, Field{f.name, value})
		case kindQuery:
			parameters = append(parameters, url.QueryEscape(f.name)+"="+url.QueryEscape(value))
		case kindBaggage:
			lists[f.kind] = append(lists[f.kind], f.name+"="+url.PathEscape(value))
		case kindJSON:
			body = put(body, f.steps, value)
		default:
			lists[f.kind] = append(lists[f.kind], f.name+"="+value)
		}
	}
	if len(parameters) > 0 {
		e.request.Target += "?" + strings.Join(parameters, "&")
	}
	for _, list := range []struct {
		kind      kind
		separator string
	}{{kindCookie, "; "}, {kindBaggage, ","}, {kindTracestate, ","}} {
		if len(lists[list.kind]) > 0 {
			e.fields = append(e.fields, Field{list.kind.String(), strings.Join(lists[list.kind], list.separator)})
		}
	}
	if body != nil {
		e.body, _ = json.Marshal(body) // maps, lists and strings always can be
		e.fields = append(e.fields, Field{"content-type", "application/json"})
	}
	e.request.Fields = e.fields
	return e, true
}

// example is a value as claimed, or none where none is needed.
func (c claim) example(k kind) (value string, there, ok bool) {
	if !c.there && k.named() {
		return "", false, true
	}
	candidates := map[kind][]string{kindMethod: {"GET", "POST", "PUT"}, kindPath: {"/", "/x"}}[k]
	if candidates == nil {
		candidates = []string{"x", "1"}
	}
	var head, tail string
	for _, p := range c.is {
		candidates = slices.Concat(p.examples(), candidates)
		head, tail = longer(head, p.beginning()), longer(tail, p.end())
	}
	if len(c.is) > 1 {
		candidates = append(candidates, head+"x"+tail)
	}
	slices.SortStableFunc(candidates, func(a, b string) int { return len(a) - len(b) })
	i := slices.IndexFunc(candidates, c.allows)
	if i < 0 {
		return "", false, false
	}
	return candidates[i], true, true
}

func longer(a, b string) string {
	if len(b) > len(a) {
		return b
	}
	return a
}

// examples are values that the pattern is for.
func (p *pattern) examples() []string {
	switch p.op {
	case opGlob:
		text := strings.ReplaceAll(p.text, "**", "x")
		return []string{strings.ReplaceAll(text, "*", "x")}
	case opRegex:
		tree, err := syntax.Parse(p.text, syntax.Perl)
		if err != nil {
			return nil
		}
		return []string{shortest(tree)}
	case opOneOf:
		return p.list
	}
	return []string{p.text}
}

// shortest is a short text that an expression is for.
func shortest(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		if len(re.Rune) == 0 {
			return ""
		}
		for _, c := range "x1A-_/" {
			for i := 0; i < len(re.Rune); i += 2 {
				if c >= re.Rune[i] && c <= re.Rune[i+1] {
					return string(c)
				}
			}
		}
		return string(re.Rune[0])
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return "x"
	case syntax.OpRepeat:
		return strings.Repeat(shortest(re.Sub[0]), re.Min)
	case syntax.OpPlus, syntax.OpCapture, syntax.OpAlternate:
		return shortest(re.Sub[0])
	case syntax.OpConcat:
		var b strings.Builder
		for _, sub := range re.Sub {
			b.WriteString(shortest(sub))
		}
		return b.String()
	}
	return ""
}

// put sets what steps lead to in a JSON value, which it makes or extends.
func put(value any, steps []step, text string) any {
	if len(steps) == 0 {
		return text
	}
	s := steps[0]
	if s.index < 0 {
		object, ok := value.(map[string]any)
		if !ok {
			object = map[string]any{}
		}
		object[s.key] = put(object[s.key], steps[1:], text)
		return object
	}
	list, _ := value.([]any)
	if s.index > 100 {
		return list // too long for an example
	}
	for len(list) <= s.index {
		list = append(list, nil)
	}
	list[s.index] = put(list[s.index], steps[1:], text)
	return list
}
