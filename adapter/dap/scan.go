package dap

import (
	"encoding/json"
	"fmt"
)

// member is where the value of a top-level member stands: raw[from:to].
type member struct {
	name     string
	from, to int
}

// scan finds the members of the JSON object raw. Validity is checked first, so the walk need not.
func scan(raw []byte) ([]member, error) {
	if !json.Valid(raw) {
		return nil, fmt.Errorf("%w: no JSON", ErrMessage)
	}
	i := space(raw, 0)
	if raw[i] != '{' {
		return nil, fmt.Errorf("%w: no object", ErrMessage)
	}
	members := make([]member, 0, 8)
	for i = space(raw, i+1); raw[i] != '}'; {
		end := text(raw, i)
		var name string
		if err := json.Unmarshal(raw[i:end], &name); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMessage, err)
		}
		from := space(raw, space(raw, end)+1)
		to := value(raw, from)
		members = append(members, member{name, from, to})
		if i = space(raw, to); raw[i] == ',' {
			i = space(raw, i+1)
		}
	}
	return members, nil
}

// space returns the index of the first byte at or after i that is no white space.
func space(raw []byte, i int) int {
	for raw[i] == ' ' || raw[i] == '\t' || raw[i] == '\r' || raw[i] == '\n' {
		i++
	}
	return i
}

// text returns the index behind the string that begins at i.
func text(raw []byte, i int) int {
	for i++; raw[i] != '"'; i++ {
		if raw[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// value returns the index behind the value that begins at i and is followed by something.
func value(raw []byte, i int) int {
	switch raw[i] {
	case '"':
		return text(raw, i)
	case '{', '[':
		for depth := 0; ; {
			switch raw[i] {
			case '"':
				i = text(raw, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			if i++; depth == 0 {
				return i
			}
		}
	}
	for raw[i] != ',' && raw[i] != '}' && raw[i] != ' ' && raw[i] != '\t' && raw[i] != '\r' && raw[i] != '\n' {
		i++
	}
	return i
}
