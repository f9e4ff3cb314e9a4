package config

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// Bounds of a file and of what is said about it. A launch.json is some kilobytes and ten levels deep; the parser recurses.
const (
	maxText     = 4 << 20
	maxDepth    = 1000
	maxProblems = 100
)

// reading is a type that takes its value out of the syntax tree itself. It keeps its default where v is wrong.
type reading interface {
	read(r *reader, v hujson.Value, path string)
}

// reader walks a syntax tree and collects problems. Paths are what people see; shapes are paths with every element of a
// list as "[]" and every key of a map as "{}".
type reader struct {
	text     []byte
	rules    map[string]rule
	seen     map[string]int // the offsets of the values that the text has, by path
	problems Problems
	// raw text is as an editor has it, before it puts its variables in; filters are what blocks of it want, ruled what they do.
	raw     bool
	filters []NamedFilter
	ruled   []NamedRules
}

// open parses text. A syntax error is the reader's only problem then.
func open(text []byte) (hujson.Value, *reader) {
	// hujson wants a line comment to end with a line; editors do not.
	text = append(bytes.TrimPrefix(bytes.Clone(text), []byte("\ufeff")), '\n')
	r := &reader{text: text, rules: rules(), seen: map[string]int{}}
	maps.Copy(r.rules, tlsRules())
	if len(text) > maxText {
		r.add(0, "", fmt.Sprintf("longer than %d MiB", maxText>>20))
		return hujson.Value{}, r
	}
	if offset := tooDeep(text); offset >= 0 {
		r.add(offset, "", fmt.Sprintf("more than %d levels deep", maxDepth))
		return hujson.Value{}, r
	}
	root, err := hujson.Parse(text)
	if err != nil {
		r.problems = Problems{r.syntaxProblem(err)}
	}
	return root, r
}

// tooDeep returns the offset of the bracket that is beyond maxDepth, or -1. It takes those in strings and comments for
// brackets too, which nobody writes a thousand of.
func tooDeep(text []byte) int {
	depth := 0
	for i, c := range text {
		switch c {
		case '{', '[':
			if depth++; depth > maxDepth {
				return i
			}
		case '}', ']':
			depth--
		}
	}
	return -1
}

var syntaxError = regexp.MustCompile(`(?s)^hujson: line (\d+), column (\d+): (.*)$`)

// syntaxProblem takes the position out of hujson's message, which has no other form. The end of the text is where it ends
// without the line break that open added.
func (r *reader) syntaxProblem(err error) Problem {
	m := syntaxError.FindStringSubmatch(err.Error())
	if m == nil {
		return Problem{Line: 1, Column: 1, Text: err.Error()}
	}
	p := Problem{Text: "not JSON: " + m[3]}
	p.Line, _ = strconv.Atoi(m[1])
	p.Column, _ = strconv.Atoi(m[2])
	if line, column := r.position(len(r.text) - 1); p.Line > line {
		p.Line, p.Column = line, column
	}
	return p
}

// into stores v in dst, which keeps its default where v is wrong.
func (r *reader) into(v hujson.Value, path, shape string, dst reflect.Value) {
	r.seen[path] = v.StartOffset
	if own, ok := dst.Addr().Interface().(reading); ok {
		own.read(r, v, path)
		return
	}
	switch dst.Kind() {
	case reflect.Struct:
		r.intoStruct(v, path, shape, dst)
	case reflect.Map:
		r.intoMap(v, path, shape, dst)
	case reflect.Slice:
		r.intoSlice(v, path, shape, dst)
	case reflect.Bool:
		if r.want(v, path, "true or false", 't', 'f') {
			dst.SetBool(v.Value.(hujson.Literal).Bool())
		}
	case reflect.String:
		if r.want(v, path, "a string", '"') {
			s := v.Value.(hujson.Literal).String()
			r.check(v.StartOffset, path, shape, s)
			dst.SetString(s)
		}
	case reflect.Uint16:
		if r.want(v, path, "a port number", '0') {
			r.port(v.StartOffset, path, v.Value.(hujson.Literal).String(), dst)
		}
	case reflect.Int:
		if r.want(v, path, "a number", '0') && r.check(v.StartOffset, path, shape, v.Value.(hujson.Literal).String()) {
			dst.SetInt(v.Value.(hujson.Literal).Int())
		}
	default:
		panic("config: no reader for " + dst.Type().String()) // a field of a type that mirror.go does not have
	}
}

func (r *reader) intoStruct(v hujson.Value, path, shape string, dst reflect.Value) {
	fields := map[string]int{}
	var known []string
	for i := range dst.NumField() {
		name, _, _ := strings.Cut(dst.Type().Field(i).Tag.Get("json"), ",")
		fields[name] = i
		known = append(known, name)
	}
	for name, m := range r.members(v, path) {
		i, ok := fields[name]
		if !ok {
			r.unknown(m.Name.StartOffset, join(path, name), name, known)
			continue
		}
		r.into(m.Value, join(path, name), join(shape, name), dst.Field(i))
	}
}

func (r *reader) intoMap(v hujson.Value, path, shape string, dst reflect.Value) {
	out := reflect.MakeMap(dst.Type())
	ports := map[uint64]string{} // the debuggee's ports, each with the target's
	for name, m := range r.members(v, path) {
		key, at := reflect.New(dst.Type().Key()).Elem(), join(path, name)
		if key.Kind() == reflect.Uint16 {
			if !r.port(m.Name.StartOffset, at, name, key) {
				continue
			}
		} else if !r.check(m.Name.StartOffset, at, shape+"{}", name) {
			continue
		}
		if key.Kind() == reflect.String {
			key.SetString(name)
		}
		value := reflect.New(dst.Type().Elem()).Elem()
		r.into(m.Value, at, shape+"{}=", value)
		if value.Kind() == reflect.Uint16 && !value.IsZero() {
			if other, taken := ports[value.Uint()]; taken {
				r.add(m.Value.StartOffset, at, fmt.Sprintf("port %d of the debuggee is that of the target's port %s already", value.Uint(), other))
			}
			ports[value.Uint()] = name
		}
		out.SetMapIndex(key, value)
	}
	dst.Set(out)
}

func (r *reader) intoSlice(v hujson.Value, path, shape string, dst reflect.Value) {
	list, ok := v.Value.(*hujson.Array)
	if !ok {
		r.wrong(v, path, "a list")
		return
	}
	out := reflect.MakeSlice(dst.Type(), len(list.Elements), len(list.Elements))
	for i, e := range list.Elements {
		r.into(e, path+"["+strconv.Itoa(i)+"]", shape+"[]", out.Index(i))
	}
	dst.Set(out)
}

// members yields an object's members in order and reports keys that come twice; anything else is reported and yields nothing.
func (r *reader) members(v hujson.Value, path string) func(func(string, hujson.ObjectMember) bool) {
	return func(yield func(string, hujson.ObjectMember) bool) {
		object, ok := v.Value.(*hujson.Object)
		if !ok {
			r.wrong(v, path, "an object")
			return
		}
		seen := map[string]bool{}
		for _, m := range object.Members {
			name := m.Name.Value.(hujson.Literal).String()
			if seen[name] {
				r.add(m.Name.StartOffset, join(path, name), "given twice")
				continue
			}
			seen[name] = true
			if !yield(name, m) {
				return
			}
		}
	}
}

// port stores a port number 1 to 65535 in dst and tells whether s is one.
func (r *reader) port(offset int, path, s string, dst reflect.Value) bool {
	n, err := parsePort(s)
	if err != nil {
		r.add(offset, path, err.Error())
		return false
	}
	dst.SetUint(uint64(n))
	return true
}

// check applies the rule for shape and tells whether s keeps it.
func (r *reader) check(offset int, path, shape, s string) bool {
	keeps, ok := r.rules[shape]
	if !ok || r.later(s) {
		return true
	}
	if err := keeps(s); err != nil {
		r.add(offset, path, err.Error())
		return false
	}
	return true
}

// later tells whether s has an editor's variable in it, so that nothing can be said of it yet.
func (r *reader) later(s string) bool { return r.raw && strings.Contains(s, "${") }

func (r *reader) want(v hujson.Value, path, what string, kinds ...hujson.Kind) bool {
	if slices.Contains(kinds, v.Value.Kind()) {
		return true
	}
	r.wrong(v, path, what)
	return false
}

func (r *reader) wrong(v hujson.Value, path, want string) {
	r.add(v.StartOffset, path, fmt.Sprintf("want %s, got %s", want, describe(v)))
}

func (r *reader) unknown(offset int, path, name string, known []string) {
	text := "unknown key"
	if near := nearest(name, known); near != "" {
		text += fmt.Sprintf("; did you mean %q?", near)
	} else {
		text += "; known are " + strings.Join(known, ", ")
	}
	r.add(offset, path, text)
}

func (r *reader) add(offset int, path, text string) {
	if len(r.problems) == maxProblems {
		return
	}
	line, column := r.position(offset)
	r.problems = append(r.problems, Problem{Line: line, Column: column, Path: path, Text: text})
}

func (r *reader) position(offset int) (line, column int) {
	before := r.text[:offset]
	return 1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
}

func (r *reader) sorted() Problems {
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return r.problems
}

// describe names a value in a person's words, short enough for a message.
func describe(v hujson.Value) string {
	switch v.Value.Kind() {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 'n':
		return "null"
	case '"':
		return "the string " + shorten(string(v.Value.(hujson.Literal)))
	case '0':
		return "the number " + shorten(string(v.Value.(hujson.Literal)))
	}
	return string(v.Value.(hujson.Literal))
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "..."
	}
	return s
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
