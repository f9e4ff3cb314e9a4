package debugger

import (
	"errors"
	"testing"

	"podstep.dev/internal/fault"
)

func TestSurveyFindsWhatALaunchWouldUse(t *testing.T) {
	dir := t.TempDir()
	program(t, dir, "dlv", "#!/bin/sh\necho 'Delve Debugger'; echo 'Version: 9.8.7'\n")
	program(t, dir, "python3", "#!/bin/sh\ncase $2 in *__version__*) echo 1.2.3;; esac\n")
	for _, got := range Survey(t.Context(), []string{"PATH=" + dir}) {
		want := map[string]string{"dlv": dir + "/dlv 9.8.7", "debugpy": dir + "/python3 1.2.3"}[got.Name]
		if got.Err != nil || got.Path+" "+got.Version != want {
			t.Errorf("%+v, want %s", got, want)
		}
	}
}

func TestSurveySaysWhyADebuggerCannotBeUsed(t *testing.T) {
	empty, broken := t.TempDir(), t.TempDir()
	program(t, broken, "dlv", "#!/bin/sh\nexit 1\n")
	for _, got := range Survey(t.Context(), []string{"PATH=" + empty}) {
		var f *fault.Fault
		if !errors.As(got.Err, &f) || f.ID != fault.DebuggerMissing {
			t.Errorf("%s, not there: %v, want fault %d", got.Name, got.Err, fault.DebuggerMissing)
		}
	}
	if got := Survey(t.Context(), []string{"PATH=" + broken})[0]; got.Err == nil {
		t.Errorf("dlv that fails: %+v", got)
	}
}
