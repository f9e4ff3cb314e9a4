package filter

import (
	"slices"
	"strings"
)

// fact is a comparison, or its opposite, that holds for a request. An ambiguous value holds for neither, so all facts on one place of a
// request are on one value.
type fact struct {
	*compare
	opposite bool
}

// ways are alternatives, each a list of facts that all hold then.
type ways [][]fact

// maxWays bounds the work on filters with many alternatives; beyond it nothing is proved.
const maxWays = 256

// alternatives of one comparison is the comparison.
func (c *compare) alternatives(opposite bool) (ways, bool) { return ways{{{c, opposite}}}, true }

// alternatives of a sample hold no fact: any request may be one of it, or not.
func (s *sample) alternatives(bool) (ways, bool) { return ways{nil}, true }

func (g *group) alternatives(opposite bool) (ways, bool) {
	if g.op == opNot {
		opposite = !opposite
	}
	combine, total := product, ways{nil}
	if (g.op == opAny) != opposite && g.op != opNot {
		combine, total = union, nil
	}
	for _, c := range g.members {
		w, ok := c.alternatives(opposite)
		if !ok || len(total)*max(len(w), 1) > maxWays {
			return nil, false
		}
		if total = combine(total, w); len(total) > maxWays {
			return nil, false
		}
	}
	return total, true
}

func union(a, b ways) ways { return append(a, b...) }

func product(a, b ways) ways {
	var all ways
	for _, x := range a {
		for _, y := range b {
			all = append(all, append(slices.Clone(x), y...))
		}
	}
	return all
}

// Disjoint tells whether no request can match both filters, as far as that can be proved: true is certain, false may be caution. Filters on
// one header, cookie, parameter, member, path, host or method are, where the values exclude each other.
func Disjoint(a, b Filter) bool {
	if a.IsZero() || b.IsZero() {
		return false
	}
	_, may := common(a, b, func([]fact) bool { return true })
	return !may
}

// common finds facts with which a request may match both filters, and accept takes. The facts are nil when there is too much to look
// at.
func common(a, b Filter, accept func([]fact) bool) ([]fact, bool) {
	ofA, okA := a.alternatives()
	ofB, okB := b.alternatives()
	if !okA || !okB {
		return nil, true
	}
	for _, x := range ofA {
		for _, y := range ofB {
			if both := append(slices.Clone(x), y...); !contradict(both) && accept(both) {
				return both, true
			}
		}
	}
	return nil, false
}

func (f Filter) alternatives() (ways, bool) {
	if f.IsZero() {
		return ways{nil}, true
	}
	return f.root.alternatives(false)
}

// contradict tells whether no request is as all facts have it.
func contradict(facts []fact) bool {
	for i, f := range facts {
		if !slices.ContainsFunc(facts[:i], f.sameplace) && newClaim(facts, f).impossible() {
			return true
		}
	}
	return false
}

func (f fact) sameplace(g fact) bool { return f.kind == g.kind && f.name == g.name }

// claim is everything that facts say of one value.
type claim struct {
	there, notThere bool
	// is are the patterns that the value meets, not those that it does not.
	is, not []*pattern
}

func newClaim(facts []fact, at fact) claim {
	var c claim
	for _, f := range facts {
		if !f.sameplace(at) {
			continue
		}
		p := &f.pattern
		switch {
		case p.op == opPresent && f.opposite, p.op == opAbsent && !f.opposite:
			c.notThere = true
		case p.op == opPresent, p.op == opAbsent:
			c.there = true
		case f.opposite:
			c.not = append(c.not, p)
		default:
			c.there, c.is = true, append(c.is, p)
		}
	}
	return c
}

func (c claim) impossible() bool {
	switch {
	case c.there && c.notThere:
		return true
	case len(c.is) == 0:
		return false // a value that none of some patterns is for can always be thought of, as far as is looked
	}
	for _, p := range c.is {
		if values, finite := p.values(); finite {
			return !slices.ContainsFunc(values, c.allows)
		}
	}
	return c.endsDiffer() || c.denied()
}

// allows tells whether a value is as claimed.
func (c claim) allows(value string) bool {
	return !slices.ContainsFunc(c.is, func(p *pattern) bool { return p.test(value, present) != yes }) &&
		!slices.ContainsFunc(c.not, func(p *pattern) bool { return p.test(value, present) != no })
}

// values are all that the pattern is for, if they can be counted.
func (p *pattern) values() ([]string, bool) {
	switch p.op {
	case opExact:
		return []string{p.text}, true
	case opOneOf:
		return p.list, true
	}
	return nil, false
}

// endsDiffer tells whether two patterns want another beginning or another end.
func (c claim) endsDiffer() bool {
	for i, p := range c.is {
		for _, q := range c.is[:i] {
			a, b := p.beginning(), q.beginning()
			if !strings.HasPrefix(a, b) && !strings.HasPrefix(b, a) {
				return true
			}
			a, b = p.end(), q.end()
			if !strings.HasSuffix(a, b) && !strings.HasSuffix(b, a) {
				return true
			}
		}
	}
	return false
}

// denied tells whether everything that one pattern is for, another excludes.
func (c claim) denied() bool {
	for _, n := range c.not {
		for _, p := range c.is {
			if p.op == n.op && p.text == n.text {
				return true
			}
			if head, whole := n.begins(); whole && strings.HasPrefix(p.beginning(), head) {
				return true
			}
		}
	}
	return false
}

// begins tells whether the pattern is for everything that begins with head.
func (p *pattern) begins() (head string, whole bool) {
	switch {
	case p.op == opPrefix:
		return p.text, true
	case p.op == opGlob && p.re == nil:
		return p.head, true
	}
	return "", false
}

// beginning is what all values begin with that the pattern is for.
func (p *pattern) beginning() string {
	switch p.op {
	case opExact, opPrefix:
		return p.text
	case opGlob:
		return p.head
	case opRegex:
		return p.literal
	}
	return ""
}

func (p *pattern) end() string {
	if p.op != opGlob {
		return ""
	}
	return p.text[strings.LastIndexByte(p.text, '*')+1:]
}
