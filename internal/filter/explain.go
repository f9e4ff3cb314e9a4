package filter

import "fmt"

// Reason is one condition that decided, and what it found.
type Reason struct {
	// Condition is the condition in words.
	Condition string `json:"condition"`
	// Met tells whether it is met.
	Met bool `json:"met"`
	// Found is what the request has in its place, in words.
	Found string `json:"found"`
}

// Explain judges a request with its whole body, as a matcher whose samples let everything through, and returns the conditions that
// decided: those that are not met, or all that are.
func (f Filter) Explain(r Request, body []byte) (Verdict, []Reason) {
	if f.IsZero() {
		return Yes, nil
	}
	in := read(r)
	in.body = &content{body, len(body) <= MaxBody}
	v := f.root.eval(in)
	reasons := explain(f.root, in, v == yes || v == pending)
	if v == pending {
		v = yes
	}
	return v.public(), reasons
}

// explain lists the conditions below c because of which it is met, or is not.
func explain(c condition, in input, met bool) []Reason {
	g, ok := c.(*group)
	switch {
	case !ok:
		return []Reason{{c.String(), met, finding(c, in)}}
	case g.op == opNot:
		return explainNot(g, in, met)
	}
	// Of conditions of which all must be met, one that is not decides; of alternatives, one that is.
	all := g.op != opAny
	var reasons []Reason
	for _, member := range g.members {
		v := member.eval(in)
		is := v == yes || v == pending
		if is != met {
			continue
		}
		of := explain(member, in, is)
		if all != met {
			return of
		}
		reasons = append(reasons, of...)
	}
	return reasons
}

// explainNot names the opposite as a whole: what is below it says why it is not met by being met.
func explainNot(g *group, in input, met bool) []Reason {
	v := g.members[0].eval(in)
	var found string
	for i, r := range explain(g.members[0], in, v == yes || v == pending) {
		if i > 0 {
			found += "; "
		}
		found += r.Found
	}
	return []Reason{{g.String(), met, found}}
}

// finding says what is in the place that c looks at.
func finding(c condition, in input) string {
	if s, ok := c.(*sample); ok {
		return fmt.Sprintf("it depends on the requests before: %s", s)
	}
	at := c.(*compare)
	value, f := at.find(in)
	what := at.kind.String()
	if at.kind.named() {
		what += " " + printable(at.name)
	}
	switch f {
	case absent:
		return "there is no " + what
	case structured:
		return what + " is an object or a list"
	case ambiguous, unclear:
		return what + " can be read in more than one way: " + at.why(in)
	}
	if at.eval(in) == odd {
		return fmt.Sprintf("%s is %s: %s", what, shorten(fmt.Sprintf("%q", value)), "it is too long, or servers read it in different ways")
	}
	return fmt.Sprintf("%s is %s", what, shorten(fmt.Sprintf("%q", value)))
}

// why says what makes a value ambiguous.
func (c *compare) why(in input) string {
	switch c.kind {
	case kindPath:
		return "it " + wrongPath(in.path, false)
	case kindJSON:
		return "the body is encoded, broken, longer than 64 KiB, or gives the key twice"
	case kindQuery:
		return `the query has a ";", a lone "%" or different values of that name`
	}
	return "it comes with different values, or is not well-formed"
}
