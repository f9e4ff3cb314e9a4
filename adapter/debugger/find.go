package debugger

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// lookup returns the last value of name in environ.
func lookup(environ []string, name string) string {
	for _, e := range slices.Backward(environ) {
		if n, v, ok := strings.Cut(e, "="); ok && n == name {
			return v
		}
	}
	return ""
}

// overlay returns environ with env on top; a nil value unsets.
func overlay(environ []string, env map[string]*string) []string {
	out := slices.DeleteFunc(slices.Clone(environ), func(e string) bool {
		n, _, _ := strings.Cut(e, "=")
		_, set := env[n]
		return set
	})
	for n, v := range env {
		if v != nil {
			out = append(out, n+"="+*v)
		}
	}
	return out
}

// onPath finds an executable as a shell would with environ's PATH. A name with a slash is a path.
func onPath(environ []string, name string) (string, error) {
	if strings.ContainsRune(name, filepath.Separator) {
		if err := executable(name); err != nil {
			return "", err
		}
		return filepath.Abs(name)
	}
	for _, dir := range filepath.SplitList(lookup(environ, "PATH")) {
		if dir == "" {
			continue
		}
		if path := filepath.Join(dir, name); executable(path) == nil {
			return filepath.Abs(path)
		}
	}
	return "", fmt.Errorf("%q is not on PATH", name)
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("%q is not executable", path)
	}
	return nil
}
