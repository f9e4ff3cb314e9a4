package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tailscale/hujson"

	"podstep.dev/internal/filter"
)

// mine is the word for the session's own filter.
const mine = "mine"

// Filter says which requests a session wants. The zero value is none: it wants all.
type Filter struct {
	// Mine : the session mints a key, and wants the requests that carry it (filter.Mine).
	Mine bool
	// Declared is the user's own filter, zero for none and for Mine.
	Declared filter.Filter
}

// IsZero tells whether there is no filter.
func (f Filter) IsZero() bool { return !f.Mine && f.Declared.IsZero() }

// With is the filter of a session that has minted a key. The key is used for Mine only; see filter.IsKey.
func (f Filter) With(key string) filter.Filter {
	if f.Mine {
		return filter.Mine(key)
	}
	return f.Declared
}

// String says the filter on one line, for people.
func (f Filter) String() string {
	if f.Mine {
		return "baggage podstep = the session's own key"
	}
	return f.Declared.String()
}

// MarshalJSON writes what the block has: "mine" or an object; null for none.
func (f Filter) MarshalJSON() ([]byte, error) {
	if f.Mine {
		return json.Marshal(mine)
	}
	return f.Declared.MarshalJSON()
}

// ParseFilter reads a filter as a command line has it: the word mine, or an object in JSON.
func ParseFilter(s string) (Filter, error) {
	if s == mine {
		return Filter{Mine: true}, nil
	}
	if trimmed := bytes.TrimSpace([]byte(s)); !bytes.HasPrefix(trimmed, []byte("{")) {
		return Filter{}, wrongWord(s)
	}
	declared, err := filter.Parse([]byte(s))
	return Filter{Declared: declared}, err
}

func wrongWord(s string) error {
	if nearest(s, []string{mine}) != "" {
		return fmt.Errorf("unknown value %q; did you mean %q?", s, mine)
	}
	return fmt.Errorf(`unknown value %q; want "mine" or an object, for example {"header": {"x-user": "alice"}}`, shorten(s))
}

// read takes the filter out of the block. Problems inside it stand where they are in the text.
func (f *Filter) read(r *reader, v hujson.Value, path string) {
	switch v.Value.Kind() {
	case '"':
		s := literal(v)
		f.Mine = s == mine
		if !f.Mine && !r.later(s) {
			r.add(v.StartOffset, path, wrongWord(s).Error())
		}
	case '{':
		f.declared(r, v, path)
	default:
		r.wrong(v, path, `"mine" or an object`)
	}
}

// Only says which of a session's requests something is about. The zero value is all.
type Only struct{ Declared filter.Filter }

// IsZero tells whether it is about all.
func (o Only) IsZero() bool { return o.Declared.IsZero() }

// String says it on one line, for people.
func (o Only) String() string { return o.Declared.String() }

// MarshalJSON writes an object; null for all.
func (o Only) MarshalJSON() ([]byte, error) { return o.Declared.MarshalJSON() }

func (o *Only) read(r *reader, v hujson.Value, path string) {
	if r.later(literal(v)) || !r.want(v, path, "an object", '{') {
		return
	}
	var f Filter
	f.declared(r, v, path)
	o.Declared = f.Declared
}

func (f *Filter) declared(r *reader, v hujson.Value, path string) {
	// What comments and trailing commas leave is as long as they were.
	text, err := hujson.Standardize(bytes.Clone(r.text[v.StartOffset:v.EndOffset]))
	if err != nil {
		r.add(v.StartOffset, path, err.Error())
		return
	}
	declared, err := filter.Parse(text)
	var problems filter.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			at := path
			if p.Path != "" {
				at = join(path, p.Path)
			}
			if !r.later(stringAt(text[p.Offset:])) {
				r.add(v.StartOffset+p.Offset, at, p.Text)
			}
		}
		return
	}
	f.Declared = declared
}

// stringAt is the string that text begins with, or nothing.
func stringAt(text []byte) string {
	token, err := json.NewDecoder(bytes.NewReader(text)).Token()
	if s, ok := token.(string); ok && err == nil {
		return s
	}
	return ""
}
