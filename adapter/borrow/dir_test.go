package borrow

import (
	"os"
	"path/filepath"
	"slices"
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

func TestDirsAreThoseOfThisUserAlone(t *testing.T) {
	runtime, temporary := t.TempDir(), t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	t.Setenv("TMPDIR", temporary)
	if dirs := Dirs(); len(dirs) > 0 {
		t.Errorf("without a session: %v", dirs)
	}
	first, err := makeDir()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(runtime, "podstep", "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	second, err := makeDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	if dirs := Dirs(); !slices.Equal(dirs, []string{first, second}) {
		t.Errorf("got %v, want %s and %s", dirs, first, second)
	}
	if err := os.Chmod(filepath.Dir(second), 0o755); err != nil {
		t.Fatal(err)
	}
	if dirs := Dirs(); !slices.Equal(dirs, []string{first}) {
		t.Errorf("others may enter: %v", dirs)
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
