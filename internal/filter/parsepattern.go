package filter

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// setName checks the name of a header, parameter, cookie, member or the path into a body, and stores it in the form that is looked for.
func (c *compare) setName(name string) error {
	switch c.kind {
	case kindHeader:
		if c.name = strings.ToLower(name); !isToken(name) {
			return fmt.Errorf("%q cannot be the name of a header", name)
		}
	case kindCookie, kindBaggage:
		if !isToken(name) {
			return fmt.Errorf("%q cannot be a name here: it has letters, digits and !#$%%&'*+-.^_`|~", name)
		}
	case kindTracestate:
		if !isToken(strings.Replace(strings.Replace(name, "@", "", 1), "/", "", -1)) {
			return fmt.Errorf("%q cannot be a key of tracestate", name)
		}
	case kindQuery:
		if name == "" {
			return errors.New("the name of a parameter is empty")
		}
	case kindJSON:
		var err error
		if c.steps, err = parseSteps(name); err != nil {
			return err
		}
		c.name = formatSteps(c.steps)
	}
	return nil
}

// isToken is of RFC 9110 §5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

// pattern reads what a value is compared with.
func (p *parser) pattern(k kind, n node, path string) pattern {
	if k == kindMethod {
		return p.methods(n, path)
	}
	if s, ok := n.token.(string); ok {
		return p.finish(k, pattern{op: opExact, text: s}, n, path)
	}
	if n.token != json.Delim('{') {
		p.wrong(n, path, "a string or an object such as {\"prefix\": \"a\"}")
		return pattern{}
	}
	known := patternKeys(k)
	if len(n.members) != 1 {
		p.add(n.offset, path, "want exactly one of %s", strings.Join(known, ", "))
		return pattern{}
	}
	e := n.members[0]
	at := below(path, e.name)
	if !slices.Contains(known, e.name) {
		p.unknown(e.offset, at, e.name, known)
		return pattern{}
	}
	if e.name == "present" {
		is, ok := e.value.token.(bool)
		if !ok {
			p.wrong(e.value, at, "true or false")
		}
		return pattern{op: map[bool]op{true: opPresent, false: opAbsent}[is]}
	}
	ops := map[string]op{"exact": opExact, "prefix": opPrefix, "regex": opRegex, "glob": opGlob}
	return p.finish(k, pattern{op: ops[e.name], text: p.text(e.value, at)}, e.value, at)
}

// patternKeys lists what a value of the kind can be compared by.
func patternKeys(k kind) []string {
	keys := []string{"exact", "prefix", "regex"}
	if k == kindPath {
		return append(keys, "glob")
	}
	return append(keys, "present")
}

// finish compiles and checks a pattern that was read from n.
func (p *parser) finish(k kind, t pattern, n node, path string) pattern {
	if k == kindHost && t.op != opRegex {
		t.text = strings.ToLower(t.text)
	}
	var err error
	if t.op == opRegex {
		t.re, t.literal, err = expression(t.text)
	} else {
		err = checkLiteral(k, &t)
	}
	if err == nil && t.op == opGlob {
		err = t.compileGlob()
	}
	if err != nil {
		p.add(n.offset, path, "%v", err)
	}
	return t
}

// checkLiteral refuses what no request's value is.
func checkLiteral(k kind, t *pattern) error {
	switch {
	case k == kindPath && t.op == opPrefix && t.text == "":
		return errors.New("empty; every path begins with /")
	case k == kindPath:
		if wrong := wrongPath(t.text, t.op == opPrefix); wrong != "" {
			return fmt.Errorf("%s; no path in the usual form does, and others are not matched", wrong)
		}
		if usual := upperEscapes(t.text); usual != t.text {
			return fmt.Errorf("has escapes in small letters; write %s", usual)
		}
		if hasEncodedSlash(t.text) {
			return errors.New("has %2F in it, which some servers take for a slash; match the path around it")
		}
	case k == kindHost && strings.ContainsAny(t.text, "/ @"), k == kindHost && t.op == opExact && strings.Contains(t.text, ":") && !strings.HasSuffix(t.text, "]"):
		return errors.New("a host has no scheme, no path and no port here")
	case k != kindJSON && k != kindQuery && k != kindBaggage:
		if strings.ContainsAny(t.text, "\r\n\x00") || strings.TrimLeft(t.text, " \t") != t.text || t.op == opExact && trim(t.text) != t.text {
			return errors.New("no value has a line break in it, or a space at its ends")
		}
	}
	return nil
}

// compileGlob : "*" stands for any characters but a slash, "**" for any.
func (t *pattern) compileGlob() error {
	if strings.Contains(t.text, "***") {
		return errors.New(`has "***" in it; "*" is any characters of one segment, "**" any of several`)
	}
	t.head, _, _ = strings.Cut(t.text, "*")
	if t.text == t.head+"**" {
		return nil
	}
	expr := regexp.QuoteMeta(t.text)
	expr = strings.ReplaceAll(expr, `\*\*`, `.*`)
	expr = strings.ReplaceAll(expr, `\*`, `[^/]*`)
	var err error
	t.re, _, err = expression(expr)
	return err
}

// Bounds of regular expressions: the text in bytes, and the size of the program in about as many instructions.
const (
	maxExpression = 1 << 10
	maxProgram    = 1000
)

// expression compiles text for whole values, and returns what those begin with as far as that is plain text. RE2 runs in linear time,
// but its programs grow with every repetition: a{1000} is a thousand a.
func expression(text string) (re *regexp.Regexp, literal string, err error) {
	if len(text) > maxExpression {
		return nil, "", fmt.Errorf("longer than %d bytes", maxExpression)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, "", err
	}
	if programSize(tree) > maxProgram {
		return nil, "", errors.New("too many repetitions in it")
	}
	part, err := regexp.Compile("(?:" + tree.String() + ")")
	if err != nil {
		return nil, "", err
	}
	literal, _ = part.LiteralPrefix()
	re, err = regexp.Compile(`\A` + part.String() + `\z`)
	return re, literal, err
}

// programSize is about how many instructions a program has.
func programSize(re *syntax.Regexp) int {
	size := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		size = min(size+programSize(sub), maxProgram+1)
	}
	if re.Op == syntax.OpRepeat {
		size = min(size*max(re.Min, re.Max, 1), maxProgram+1)
	}
	return size
}

// methods reads a method or a list of some.
func (p *parser) methods(n node, path string) pattern {
	t := pattern{op: opOneOf}
	items := n.items
	if _, ok := n.token.(string); ok {
		items = []node{n}
	} else if n.token != json.Delim('[') {
		p.wrong(n, path, "a method or a list of methods")
		return t
	} else if len(items) == 0 {
		p.add(n.offset, path, "empty; want a method in it")
	} else if len(items) > MaxConditions {
		p.add(n.offset, path, "more than %d methods", MaxConditions)
	}
	for i, item := range items {
		at := path
		if n.token == json.Delim('[') {
			at = fmt.Sprintf("%s[%d]", path, i)
		}
		method := p.text(item, at)
		if _, ok := item.token.(string); ok && (!isToken(method) || strings.ToUpper(method) != method) {
			p.add(item.offset, at, "%q is no method; methods are in capital letters, for example GET", method)
		}
		t.list = append(t.list, method)
	}
	slices.Sort(t.list)
	t.list = slices.Compact(t.list)
	return t
}
