package filter

import (
	"strings"
	"unicode/utf8"
)

// sole is the one value of several that are of the same name. It is ambiguous when two of them differ: servers take the first, the
// last, or both joined, and a request that does so to be in two sessions at once must be in none.
type sole struct {
	value string
	found found
}

func (s *sole) add(value string, ok bool) {
	switch {
	case !ok, s.found == present && s.value != value:
		s.found = ambiguous
	case s.found == absent:
		s.value, s.found = value, present
	}
}

// header is the value of a header; name is in small letters.
func header(fields Fields, name string) (string, found) {
	var s sole
	for i := range fields.Len() {
		if n, value := fields.At(i); len(n) == len(name) && strings.EqualFold(n, name) {
			s.add(value, true)
		}
	}
	return s.value, s.found
}

// host is the host that is asked for, in small letters and without the port.
func host(in input) (string, found) {
	value, f := header(in.fields, "host")
	if in.authority != "" {
		if f == ambiguous || f == present && !strings.EqualFold(value, in.authority) {
			return "", ambiguous
		}
		value, f = in.authority, present
	}
	if f != present {
		return "", f
	}
	name := value
	if colon := strings.LastIndexByte(value, ':'); colon > strings.LastIndexByte(value, ']') {
		name = value[:colon]
	}
	if strings.ContainsAny(name, "@ \t,/") || strings.Contains(name, ":") && !strings.HasPrefix(name, "[") {
		return "", ambiguous
	}
	return strings.ToLower(name), present
}

// query is the value of a parameter, decoded as HTML forms are encoded (WHATWG URL §5). Servers do not agree on a semicolon, which
// was a separator once, nor on an incomplete "%": with one it is unclear what a query has.
func query(text, name string) (string, found) {
	if strings.IndexByte(text, ';') >= 0 {
		return "", unclear
	}
	var s sole
	for text != "" {
		var pair string
		pair, text, _ = strings.Cut(text, "&")
		n, value, _ := strings.Cut(pair, "=")
		n, good := unescape(n, true)
		if !good {
			return "", unclear
		}
		if value, good = unescape(value, true); !good {
			return "", unclear
		}
		if n == name && pair != "" {
			s.add(value, true)
		}
	}
	return s.value, s.found
}

// cookie is the value of a cookie as it was sent: neither unquoted nor decoded (RFC 6265 §5.4).
func cookie(fields Fields, name string) (string, found) {
	return member(fields, "cookie", ";", name, func(value string) (string, bool) { return value, true })
}

// baggage is the value of a member without its properties, decoded (W3C Baggage §3.2.1).
func baggage(fields Fields, name string) (string, found) {
	return member(fields, "baggage", ",", name, func(value string) (string, bool) {
		value, _, _ = strings.Cut(value, ";")
		value, ok := unescape(trim(value), false)
		return value, ok && utf8.ValidString(value)
	})
}

// tracestate is the value of a member (W3C Trace Context §3.3).
func tracestate(fields Fields, name string) (string, found) {
	return member(fields, "tracestate", ",", name, func(value string) (string, bool) { return value, true })
}

// member finds name in all fields that are a list of NAME=VALUE.
func member(fields Fields, field, separator, name string, decode func(string) (string, bool)) (string, found) {
	var s sole
	for i := range fields.Len() {
		n, text := fields.At(i)
		if len(n) != len(field) || !strings.EqualFold(n, field) {
			continue
		}
		for text != "" {
			var pair string
			pair, text, _ = strings.Cut(text, separator)
			key, value, found := strings.Cut(pair, "=")
			if found && trim(key) == name {
				s.add(decode(trim(value)))
			}
		}
	}
	return s.value, s.found
}

// trim takes off the white space of RFC 9110 §5.6.3.
func trim(s string) string { return strings.Trim(s, " \t") }

// unescape decodes "%41", and "+" for a space in a form. It tells whether every "%" has two digits behind it.
func unescape(s string, form bool) (string, bool) {
	if strings.IndexByte(s, '%') < 0 && (!form || strings.IndexByte(s, '+') < 0) {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+' && form:
			b = append(b, ' ')
		case s[i] == '%':
			c, ok := escaped(s, i)
			if !ok {
				return "", false
			}
			b = append(b, c)
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b), true
}

// escaped is the byte that "%41" at i stands for.
func escaped(s string, i int) (byte, bool) {
	if i+2 >= len(s) {
		return 0, false
	}
	high, ok1 := hex(s[i+1])
	low, ok2 := hex(s[i+2])
	return high<<4 | low, ok1 && ok2
}

func hex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
