// Command gen puts the table of permissions into docs/security.md, between its marks. It runs by go generate, in
// adapter/cluster/rbac; a test fails when the page is stale.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"podstep.dev/adapter/cluster/rbac"
)

// The marks of the generated part.
const (
	begin = "<!-- Made by \"make generate\" from adapter/cluster/rbac. -->\n"
	end   = "<!-- end -->\n"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	page, err := os.ReadFile(path(dir))
	if err != nil {
		return err
	}
	if page, err = renew(page); err != nil {
		return err
	}
	return os.WriteFile(path(dir), page, 0o644)
}

// path is the page's; dir is adapter/cluster/rbac.
func path(dir string) string { return filepath.Join(dir, "..", "..", "..", "docs", "security.md") }

// renew replaces what is between the marks.
func renew(page []byte) ([]byte, error) {
	before, rest, found := bytes.Cut(page, []byte(begin))
	_, after, closed := bytes.Cut(rest, []byte(end))
	if !found || !closed {
		return nil, fmt.Errorf("docs/security.md lacks the marks of its table")
	}
	return bytes.Join([][]byte{before, []byte(begin), rbac.Markdown(), []byte(end), after}, nil), nil
}
