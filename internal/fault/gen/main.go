// Command gen makes docs/errors.md from the catalogue of faults. It runs by go generate, in internal/fault; a test fails when
// the file is stale.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"podstep.dev/internal/fault"
)

const head = `<!-- Made by "make generate" from internal/fault. -->
# Faults

What podstep shows a person is a fault: what happened, what to do next, and an id that stays the same over releases, as in
` + "`[podstep-2001]`" + `. Ids are grouped: 1xxx the configuration, 2xxx the target, 3xxx the agent and the link, 4xxx the debugger, 5xxx the
interception on this machine, 6xxx incoming traffic, 9xxx podstep itself.
`

func main() {
	if err := os.WriteFile(path("."), page(), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// path is the page's; dir is internal/fault.
func path(dir string) string { return filepath.Join(dir, "..", "..", "docs", "errors.md") }

// page lists the catalogue in order.
func page() []byte {
	var b bytes.Buffer
	b.WriteString(head)
	for _, id := range fault.IDs() {
		e, _ := fault.Lookup(id) // IDs lists what there is
		fmt.Fprintf(&b, "\n## podstep-%d\n**%s.** %s\n\n%s\n", id, e.Title, e.Why, e.Hint)
	}
	return b.Bytes()
}
