package filter

import (
	"fmt"
	"strings"
)

// pathOf judges a path as it was sent. Patterns are for paths in the one form that all servers read alike, and those are compared
// byte by byte, undecoded; any other is ambiguous.
func pathOf(path string) (string, found) {
	switch {
	case path == "":
		return "", absent
	case wrongPath(path, false) != "":
		return path, ambiguous
	}
	return upperEscapes(path), present
}

// wrongPath says what servers read in different ways in a path, or in a pattern of one, or nothing. The last segment of what is open
// may go on.
func wrongPath(path string, open bool) string {
	if !strings.HasPrefix(path, "/") {
		return "does not begin with /"
	}
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '%':
			e, ok := escaped(path, i)
			if !ok {
				return `has a "%" without two hex digits behind it`
			}
			// Encoded or not, these are the same (RFC 3986 §6.2.2.2).
			if isAlphanumeric(e) || strings.IndexByte("-._~", e) >= 0 {
				return fmt.Sprintf("has %s for %q in it", path[i:i+3], e)
			}
			i += 2
		case c <= ' ' || c >= 0x7f || c == '\\' || c == '#' || c == '?':
			return fmt.Sprintf("has a byte in it that a path has as %%%02X only", c)
		}
	}
	return wrongSegment(path[1:], open)
}

// wrongSegment looks for "//", "/./" and "/../", where an encoded slash or backslash may be a separator too, and ";" the end of a
// segment's name.
func wrongSegment(rest string, open bool) string {
	for {
		end := 0
		for end < len(rest) && rest[end] != '/' && !isSeparator(rest[end:]) {
			end++
		}
		name, _, _ := strings.Cut(rest[:end], ";")
		last := end == len(rest)
		switch {
		case (name == "." || name == "..") && !(last && open):
			return fmt.Sprintf("has the segment %q in it", name)
		case last:
			return ""
		case name == "":
			return `has "//" in it`
		case rest[end] == '%':
			end += 2
		}
		rest = rest[end+1:]
	}
}

func isSeparator(s string) bool {
	return len(s) >= 3 && (strings.EqualFold(s[:3], "%2F") || strings.EqualFold(s[:3], "%5C"))
}

func hasEncodedSlash(path string) bool { return strings.Contains(path, "%2F") }

func decodeSlashes(path string) string { return strings.ReplaceAll(path, "%2F", "/") }

// upperEscapes gives every "%c3" its usual form, "%C3" (RFC 3986 §6.2.2.1).
func upperEscapes(path string) string {
	var b []byte
	for i := 0; i+2 < len(path); i++ {
		if path[i] != '%' || path[i+1] < 'a' && path[i+2] < 'a' {
			continue
		}
		if b == nil {
			b = []byte(path)
		}
		copy(b[i:], strings.ToUpper(path[i:i+3]))
	}
	if b == nil {
		return path
	}
	return string(b)
}
