package main

import (
	"bytes"
	"fmt"

	"github.com/invopop/jsonschema"
)

const filtersHead = `
## Filters

` + "`incoming.filter`" + ` is an object of conditions, which must all be met:

` + "```jsonc\n" + filterExample + "```" + `

`

// filterExample is checked by a test.
const filterExample = `{
  "header": {"x-user": "alice"},  // this header,
  "path": {"glob": "/api/**"},    // and such a path,
  "any": [{"method": "POST"}, {"query": {"debug": {"present": true}}}],  // and one of these
}
`

const filtersTail = `
A value (` + "`VALUE` in `{\"header\": {\"x-user\": VALUE}}`, `{\"path\": VALUE}`" + `) is a string, then the request's must be the same, or an object with one of these keys:

`

const filtersRules = `
A request must not be one session's by its first header and another's by its second. So what servers may read in different ways meets
neither a condition nor the opposite of one (` + "`not`" + `):
- A header, parameter, cookie or member that comes several times with different values. Such a thing is ` + "`present`" + `, and nothing else.
- A path with ` + "`.` or `..`" + ` in it, two slashes in a row, a backslash, or a letter, a digit or one of ` + "`-._~`" + ` as an escape (` + "`%61`" + `). Any other path is compared as it was
  sent, escapes and all: write ` + "`/caf%C3%A9`" + `. One with an encoded slash has to match both with it and with a slash in its place.
- A query with ` + "`;`" + ` or an incomplete escape in it.
- A JSON body that is longer than 64 KiB, compressed or broken, or has a key twice on the way to the value.

Two sessions may filter on one port if no request can match both filters, for example with two values of one header. ` + "`podstep check`" + ` says a filter in words, and with
` + "`--request FILE`" + ` whether it matches a request and why.
`

// filters writes the section about filters.
func filters(b *bytes.Buffer, definitions jsonschema.Definitions) {
	b.WriteString(filtersHead)
	conditions(b, definitions["filter"])
	b.WriteString(filtersTail)
	text, path := definitions["text"].OneOf[1], definitions["pathText"].OneOf[1]
	conditions(b, text)
	glob := path.Properties.Value("glob")
	fmt.Fprintf(b, "| `glob` | Of paths. %s |\n", glob.Description)
	b.WriteString(filtersRules)
}

func conditions(b *bytes.Buffer, s *jsonschema.Schema) {
	b.WriteString("| key | |\n|---|---|\n")
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		fmt.Fprintf(b, "| `%s` | %s |\n", p.Key, p.Value.Description)
	}
}
