package repo_test

import (
	"fmt"
	"go/ast"
	"os"
	"strings"
	"testing"

	"podstep.dev/internal/fault"
)

func TestErrorsPageListsEveryFault(t *testing.T) {
	page, err := os.ReadFile(root + "/docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range fault.IDs() {
		if !strings.Contains(string(page), fmt.Sprintf("## podstep-%d\n", id)) {
			t.Errorf("docs/errors.md lacks fault %d", id)
		}
	}
}

func TestEveryFaultIsRaisedAndListed(t *testing.T) {
	declared, used := map[string]string{}, map[string]bool{}
	for _, f := range sources(t) {
		if f.Dir == "internal/fault" && !f.IsTest() {
			ast.Inspect(f.AST, func(n ast.Node) bool {
				if v, ok := n.(*ast.ValueSpec); ok {
					if typ, ok := v.Type.(*ast.Ident); ok && typ.Name == "ID" {
						declared[v.Names[0].Name] = f.Place(v)
					}
				}
				return true
			})
			continue
		}
		if f.IsTest() {
			continue
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "fault" {
					used[s.Sel.Name] = true
				}
			}
			return true
		})
	}
	if len(declared) != len(fault.IDs()) {
		t.Errorf("%d ids are declared and %d are in the catalogue", len(declared), len(fault.IDs()))
	}
	for name, place := range declared {
		if !used[name] {
			t.Errorf("%s: fault.%s is raised nowhere", place, name)
		}
	}
}
