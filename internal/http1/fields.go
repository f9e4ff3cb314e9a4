package http1

import "strings"

// Value is the value of the first field of this name, whatever the case of its letters.
func Value(fields []Field, name string) (value string, found bool) {
	for _, f := range fields {
		if equal(f.Name, name) {
			return f.Value, true
		}
	}
	return "", false
}

// Values are the values of the fields of this name, in the order in which they were sent.
func Values(fields []Field, name string) []string {
	var values []string
	for _, f := range fields {
		if equal(f.Name, name) {
			values = append(values, f.Value)
		}
	}
	return values
}

// HasToken tells whether the comma-separated lists of the fields of this name (RFC 9110 §5.6.1) have the token, whatever the
// case of its letters. It is for lists of plain tokens, as of Connection and Upgrade: quotes are not looked at.
func HasToken(fields []Field, name, token string) bool {
	for _, f := range fields {
		if equal(f.Name, name) && listHas(f.Value, token) {
			return true
		}
	}
	return false
}

func listHas(list, token string) bool {
	for more := true; more; {
		var member string
		member, list, more = strings.Cut(list, ",")
		if equal(strings.Trim(member, " \t"), token) {
			return true
		}
	}
	return false
}
