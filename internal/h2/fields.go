package h2

import (
	"golang.org/x/net/http2/hpack"
)

// Fields makes fields of names and values in turn.
func Fields(pairs ...string) (fields []hpack.HeaderField) {
	for i := 0; i < len(pairs); i += 2 {
		fields = append(fields, hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return fields
}

// Value is the first field's of that name, "" when there is none. Names are in lower case (RFC 9113 §8.2).
func Value(fields []hpack.HeaderField, name string) string {
	for _, f := range fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}
