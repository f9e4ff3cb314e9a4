package borrow

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMakeDirIsOfThisUserAlone(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	dir, err := makeDir()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v; want 0700", info.Mode(), err)
	}
	other, err := makeDir()
	if err != nil || other == dir {
		t.Errorf("two sessions in %s, %v", other, err)
	}
}

func TestMakeDirRefusesADirectoryThatOthersMayEnter(t *testing.T) {
	runtime := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	parent := filepath.Join(runtime, "podstep")
	if err := os.Mkdir(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	if dir, err := makeDir(); err == nil {
		t.Errorf("made %s", dir)
	}
}

func TestMakeDirRefusesALink(t *testing.T) {
	runtime := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	if err := os.Symlink(t.TempDir(), filepath.Join(runtime, "podstep")); err != nil {
		t.Fatal(err)
	}
	if dir, err := makeDir(); err == nil {
		t.Errorf("made %s", dir)
	}
}
