package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// content is a request's body as far as it is known.
type content struct {
	bytes    []byte
	complete bool
}

// step is one step into a JSON value: a key, or an index if key is empty and index is not negative.
type step struct {
	key   string
	index int // -1: a key
}

// inBody is the value that steps lead to: a string as it is, a number, true, false and null as they are written. A body that is not JSON
// has none. Of one that is too long, encoded or broken it is unclear, of one that gives a key twice on the way, ambiguous. What has no type, or
// that of a form, is JSON when it begins like it: curl and others send it so, and many servers do not look at the type.
func inBody(in input, steps []step) (string, found) {
	kind, f := header(in.fields, "content-type")
	if f == ambiguous {
		return "", unclear
	}
	declared := isJSON(kind)
	if !declared && !isUntyped(in, kind) {
		return "", absent
	}
	if coding, f := header(in.fields, "content-encoding"); f == ambiguous || f == present && !strings.EqualFold(coding, "identity") {
		return "", unclear
	}
	switch {
	case in.body == nil:
		return "", notRead
	case !declared && !looksLikeJSON(in.body.bytes):
		return "", absent
	case !in.body.complete:
		return "", unclear
	case len(bytes.TrimSpace(in.body.bytes)) == 0:
		return "", absent
	case !json.Valid(in.body.bytes) || !utf8.Valid(in.body.bytes):
		return "", unclear
	}
	return lookup(in.body.bytes, steps)
}

// isJSON tells application/json and whatever ends in +json (RFC 6839 §3.1).
func isJSON(contentType string) bool {
	kind := mediaType(contentType)
	return kind == "application/json" || strings.HasSuffix(kind, "+json")
}

// isUntyped tells types that clients send who were not told of one, with a body.
func isUntyped(in input, contentType string) bool {
	if kind := mediaType(contentType); kind != "" {
		return kind == "application/x-www-form-urlencoded"
	}
	_, sized := header(in.fields, "content-length")
	_, coded := header(in.fields, "transfer-encoding")
	return sized != absent || coded != absent
}

func mediaType(contentType string) string {
	kind, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(trim(kind))
}

// looksLikeJSON tells an object or a list, also by its first bytes alone.
func looksLikeJSON(body []byte) bool {
	body = bytes.TrimLeft(body, " \t\r\n")
	return len(body) > 0 && (body[0] == '{' || body[0] == '[')
}

func lookup(value json.RawMessage, steps []step) (string, found) {
	for i, s := range steps {
		next, f := child(value, s)
		if f == ambiguous && i < len(steps)-1 {
			return "", unclear
		}
		if f != present {
			return "", f
		}
		value = next
	}
	switch value[0] {
	case '{', '[':
		return "", structured
	case '"':
		var s string
		if err := json.Unmarshal(value, &s); err != nil {
			return "", ambiguous
		}
		return s, present
	}
	return string(value), present
}

// child is what one step leads to. value is valid JSON.
func child(value json.RawMessage, s step) (json.RawMessage, found) {
	d := json.NewDecoder(bytes.NewReader(value))
	open, err := d.Token()
	if err != nil || s.index < 0 && open != json.Delim('{') || s.index >= 0 && open != json.Delim('[') {
		return nil, absent
	}
	var got json.RawMessage
	f := absent
	for i := 0; d.More(); i++ {
		is := i == s.index
		if s.index < 0 {
			key, err := d.Token()
			if err != nil {
				return nil, ambiguous
			}
			is = key == s.key
		}
		var element json.RawMessage
		if err := d.Decode(&element); err != nil {
			return nil, ambiguous
		}
		switch {
		case is && f == present:
			return nil, ambiguous
		case is:
			got, f = element, present
		}
	}
	return got, f
}

// parseSteps reads a small part of JSONPath (RFC 9535): "$.user.id", or "user.id"; "items[0].id"; `headers["x.y"]`.
func parseSteps(path string) ([]step, error) {
	rest := path
	if rest == "$" {
		return nil, errors.New("leads nowhere; write $.user.id, or user.id")
	}
	if after, ok := strings.CutPrefix(rest, "$"); ok && (after[0] == '.' || after[0] == '[') {
		rest = after
	} else if !strings.HasPrefix(rest, "[") {
		rest = "." + rest
	}
	var steps []step
	for rest != "" {
		s, after, err := parseStep(rest)
		if err != nil {
			return nil, err
		}
		steps, rest = append(steps, s), after
	}
	return steps, nil
}

func parseStep(s string) (step, string, error) {
	if name, ok := strings.CutPrefix(s, "."); ok {
		rest := ""
		if end := strings.IndexAny(name, ".["); end >= 0 {
			name, rest = name[:end], name[end:]
		}
		if !isPlainKey(name) {
			return step{}, "", errors.New(`is no path such as $.user.id, items[0].id or headers["x.y"]`)
		}
		return step{name, -1}, rest, nil
	}
	if strings.HasPrefix(s, `["`) {
		d := json.NewDecoder(strings.NewReader(s[1:]))
		key, err := d.Token()
		if rest, ok := strings.CutPrefix(s[1+d.InputOffset():], "]"); err == nil && ok {
			return step{key.(string), -1}, rest, nil
		}
		return step{}, "", errors.New(`has a bracket that is no ["KEY"]`)
	}
	inside, rest, found := strings.Cut(s[1:], "]")
	index, err := strconv.ParseUint(inside, 10, 16)
	if s[0] != '[' || !found || err != nil {
		return step{}, "", errors.New(`has a bracket that is neither [0] nor ["KEY"]`)
	}
	return step{"", int(index)}, rest, nil
}

// isPlainKey tells keys that need no quotes in a path.
func isPlainKey(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || strings.ContainsRune(`.[]"'*$@?,:()`, c) })
}

// formatSteps writes what parseSteps reads, in one form for equal paths.
func formatSteps(steps []step) string {
	var b strings.Builder
	for i, s := range steps {
		switch {
		case s.index >= 0 && i == 0:
			b.WriteString("$[" + strconv.Itoa(s.index) + "]")
		case s.index >= 0:
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		case !isPlainKey(s.key):
			if i == 0 {
				b.WriteByte('$')
			}
			quoted, _ := json.Marshal(s.key) // a string always can be
			b.WriteString("[" + string(quoted) + "]")
		case i == 0:
			b.WriteString(s.key)
		default:
			b.WriteString("." + s.key)
		}
	}
	return b.String()
}
