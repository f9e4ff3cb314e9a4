package launcher

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStartPassesExitStatusOn(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		want   ExitStatus
	}{
		"success": {"exit 0", ExitStatus{}},
		"code":    {"exit 42", ExitStatus{Code: 42}},
		"signal":  {"kill -SEGV $$", ExitStatus{Signal: syscall.SIGSEGV}},
	} {
		t.Run(name, func(t *testing.T) {
			tree, err := Start(t.Context(), Process{Argv: []string{"sh", "-c", test.script}})
			if err != nil {
				t.Fatal(err)
			}
			got, err := tree.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if err := tree.Kill(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestStartSaysWhyAProgramCannotRun(t *testing.T) {
	_, err := Start(t.Context(), Process{Argv: []string{"/no/such/program"}})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}

func TestStartGivesOnlyThreeDescriptors(t *testing.T) {
	var out bytes.Buffer
	tree, err := Start(t.Context(), Process{Argv: []string{"sh", "-c", "ls -l /proc/self/fd | sed 's/.*:.. //'"}, Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := tree.Kill(); err != nil {
		t.Fatal(err)
	}
	// The fourth is ls's own, of the directory.
	if n := strings.Count(out.String(), "->"); n != 4 {
		t.Errorf("ls saw %d descriptors:\n%s", n, out.String())
	}
}

func TestSignalReachesTheProgram(t *testing.T) {
	tree, err := Start(t.Context(), Process{Argv: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	got, err := tree.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if got.Signal != syscall.SIGTERM {
		t.Errorf("ended by %+v", got)
	}
	if err := tree.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal after the end: %v", err)
	}
	if err := tree.Kill(); err != nil {
		t.Error(err)
	}
}
