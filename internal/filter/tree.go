package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// node is a JSON value that knows where it stands.
type node struct {
	// offset is in bytes from the beginning of the text.
	offset int
	// token is a string, json.Number, bool, nil, or the Delim that opens a list or an object.
	token   json.Token
	members []entry
	items   []node
}

type entry struct {
	offset int
	name   string
	value  node
}

// maxNesting bounds the reading of any text: a filter is MaxDepth deep, each level some brackets.
const maxNesting = 4 * MaxDepth

// tree reads text, which is one JSON value.
func tree(text []byte) (node, error) {
	r := &treeReader{text: text, d: json.NewDecoder(bytes.NewReader(text))}
	r.d.UseNumber()
	n, err := r.value(maxNesting)
	if err != nil {
		return node{}, err
	}
	if _, err := r.d.Token(); !errors.Is(err, io.EOF) {
		return node{}, errors.New("something follows behind it")
	}
	return n, nil
}

type treeReader struct {
	text []byte
	d    *json.Decoder
}

// offset is where the next token begins.
func (r *treeReader) offset() int {
	at := int(r.d.InputOffset())
	return at + len(r.text[at:]) - len(bytes.TrimLeft(r.text[at:], " \t\r\n,:"))
}

func (r *treeReader) value(levels int) (node, error) {
	n := node{offset: r.offset()}
	var err error
	if n.token, err = r.d.Token(); err != nil {
		return n, err
	}
	delim, isDelim := n.token.(json.Delim)
	if !isDelim {
		return n, nil
	}
	if levels == 0 {
		return n, fmt.Errorf("more than %d levels deep", maxNesting)
	}
	for r.d.More() {
		if delim == '{' {
			err = r.member(&n, levels-1)
		} else {
			err = r.item(&n, levels-1)
		}
		if err != nil {
			return n, err
		}
	}
	_, err = r.d.Token()
	return n, err
}

func (r *treeReader) member(n *node, levels int) error {
	m := entry{offset: r.offset()}
	name, err := r.d.Token()
	if err != nil {
		return err
	}
	m.name, _ = name.(string) // the decoder has no other names
	if m.value, err = r.value(levels); err == nil {
		n.members = append(n.members, m)
	}
	return err
}

func (r *treeReader) item(n *node, levels int) error {
	item, err := r.value(levels)
	if err == nil {
		n.items = append(n.items, item)
	}
	return err
}

// describe names a value in a person's words.
func (n node) describe() string {
	switch t := n.token.(type) {
	case json.Delim:
		if t == '{' {
			return "an object"
		}
		return "a list"
	case string:
		return "the string " + shorten(fmt.Sprintf("%q", t))
	case json.Number:
		return "the number " + shorten(t.String())
	case nil:
		return "null"
	}
	return fmt.Sprint(n.token)
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "..."
	}
	return s
}

// nearest returns the known word that word was probably meant to be, or "" when none is near.
func nearest(word string, known []string) string {
	best, least := "", max(2, len(word)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(word), k); d < least && d < len(k) {
			best, least = k, d
		}
	}
	return best
}

// distance counts the bytes that are to be put in, left out or replaced to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := before
			if a[i] != b[j] {
				replaced++
			}
			before = row[j+1]
			row[j+1] = min(replaced, before+1, row[j]+1)
		}
	}
	return row[len(b)]
}
