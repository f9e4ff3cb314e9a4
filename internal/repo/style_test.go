package repo_test

import (
	"bytes"
	"go/ast"
	"go/format"
	"os"
	"strings"
	"testing"

	"podstep.dev/internal/repo"
)

const (
	root     = "../.."
	maxLines = 500
)

// sources reads the module; a test of nothing would pass.
func sources(t *testing.T) []repo.File {
	t.Helper()
	files, err := repo.Files(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d source files are found", len(files))
	}
	return files
}

func TestPackagesHaveOneCommentEach(t *testing.T) {
	comments := map[string][]string{}
	names := map[string]string{}
	for _, f := range sources(t) {
		if f.IsTest() {
			continue
		}
		names[f.Dir] = f.AST.Name.Name
		if f.AST.Doc == nil {
			continue
		}
		comments[f.Dir] = append(comments[f.Dir], f.Path)
		want := "Package " + f.AST.Name.Name + " "
		if f.AST.Name.Name == "main" {
			want = "Command " + f.Dir[strings.LastIndexByte(f.Dir, '/')+1:] + " "
		}
		if !strings.HasPrefix(f.AST.Doc.Text(), want) {
			t.Errorf("%s: the package comment begins with %.20q, want %q", f.Path, f.AST.Doc.Text(), want)
		}
	}
	for dir := range names {
		if len(comments[dir]) != 1 {
			t.Errorf("%s has package comments in %v, want exactly one", dir, comments[dir])
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	for _, f := range sources(t) {
		if n := bytes.Count(f.Text, []byte("\n")); n > maxLines && !f.IsGenerated() {
			t.Errorf("%s has %d lines, at most %d: split it by verb", f.Path, n, maxLines)
		}
	}
}

func TestFilesAreFormatted(t *testing.T) {
	for _, f := range sources(t) {
		formatted, err := format.Source(f.Text)
		if err != nil {
			t.Errorf("%s: %v", f.Path, err)
		} else if !bytes.Equal(formatted, f.Text) {
			t.Errorf("%s is not as gofmt has it", f.Path)
		}
	}
}

func TestNothingRunsBeforeMain(t *testing.T) {
	for _, f := range sources(t) {
		for _, d := range f.AST.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: func init: whoever needs something done calls for it", f.Place(fn))
			}
		}
	}
}

func TestPackagesDoNotPrint(t *testing.T) {
	for _, f := range sources(t) {
		if f.AST.Name.Name == "main" || f.IsTest() {
			continue
		}
		f.Calls("fmt", func(name string) bool { return strings.HasPrefix(name, "Print") }, func(call *ast.CallExpr) {
			t.Errorf("%s prints: standard output is the DAP channel", f.Place(call))
		})
	}
}

// ownContexts lists files that may make a context of their own, and why.
func ownContexts() map[string]string {
	return map[string]string{
		"agent/incoming/redirect/listener.go": "listening at a literal address waits for nothing that could be cancelled",
	}
}

func TestContextsComeFromMain(t *testing.T) {
	for _, f := range sources(t) {
		if f.AST.Name.Name == "main" || f.IsTest() || strings.HasPrefix(f.Dir, "internal/testkit") || strings.HasPrefix(f.Dir, "test/") || ownContexts()[f.Path] != "" {
			continue
		}
		f.Calls("context", func(name string) bool { return name == "Background" || name == "TODO" }, func(call *ast.CallExpr) {
			t.Errorf("%s makes a context of its own: take the caller's, or context.WithoutCancel of it", f.Place(call))
		})
	}
}

func TestTestsDoNotSleep(t *testing.T) {
	for _, f := range sources(t) {
		if !f.IsTest() && !strings.HasPrefix(f.Dir, "internal/testkit") || bytes.Contains(f.Text, []byte(`"testing/synctest"`)) {
			continue
		}
		f.Calls("time", func(name string) bool { return name == "Sleep" }, func(call *ast.CallExpr) {
			t.Errorf("%s sleeps outside a synctest bubble: wait for what is to happen, with a deadline", f.Place(call))
		})
	}
}

func TestSkipsSayWhatIsMissing(t *testing.T) {
	for _, f := range sources(t) {
		for _, tb := range []string{"t", "b", "tb", "f"} {
			f.Calls(tb, func(name string) bool { return name == "SkipNow" }, func(call *ast.CallExpr) {
				t.Errorf("%s skips without a word", f.Place(call))
			})
		}
	}
}

func TestModuleReplacesNothing(t *testing.T) {
	text, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("\nreplace ")) {
		t.Error("go.mod has a replace: others cannot build it")
	}
}
