// Package repo holds the repository to its own rules, by tests: who may import whom and why, one package comment each, sizes of
// files, and what is forbidden everywhere. It has no other code than the reading of the sources.
package repo

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Module is the module's path.
const Module = "podstep.dev"

// File is one Go source file, for whatever platform it is meant.
type File struct {
	// Path is relative to the repository's root, with slashes: "adapter/config/parse.go".
	Path string
	// Dir is Path's directory: "adapter/config".
	Dir  string
	Text []byte
	Fset *token.FileSet
	AST  *ast.File
}

// IsTest tells whether f is part of tests only.
func (f File) IsTest() bool { return strings.HasSuffix(f.Path, "_test.go") }

// IsGenerated tells whether f says that it is.
func (f File) IsGenerated() bool { return ast.IsGenerated(f.AST) }

// Imports lists the imported paths.
func (f File) Imports() []string {
	var paths []string
	for _, i := range f.AST.Imports {
		path, _ := strconv.Unquote(i.Path.Value) // the parser has checked it
		paths = append(paths, path)
	}
	return paths
}

// Place is "path:line" of a node, for messages.
func (f File) Place(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.Path, f.Fset.Position(n.Pos()).Line)
}

// Calls yields every call of pkg.name in f, where pkg is the last element of an import's path.
func (f File) Calls(pkg string, match func(name string) bool, yield func(*ast.CallExpr)) {
	ast.Inspect(f.AST, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if s, ok := call.Fun.(*ast.SelectorExpr); ok && match(s.Sel.Name) {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == pkg {
				yield(call)
			}
		}
		return true
	})
}

// Files reads all Go sources of the module at root; other modules below it, and what is not in git, are left out.
func Files(root string) ([]File, error) {
	var files []File
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || isOutside(path, d.Name())) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := readFile(path, filepath.ToSlash(rel))
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

func readFile(path, rel string) (File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return File{}, err
	}
	f := File{Path: rel, Dir: filepath.ToSlash(filepath.Dir(rel)), Text: text, Fset: token.NewFileSet()}
	f.AST, err = parser.ParseFile(f.Fset, rel, text, parser.ParseComments|parser.SkipObjectResolution)
	return f, err
}

// isOutside tells directories that hold no source of this module.
func isOutside(path, name string) bool {
	switch name {
	case "bin", "build", "node_modules", "testdata", "dist":
		return true
	}
	_, err := os.Stat(filepath.Join(path, "go.mod"))
	return err == nil
}
