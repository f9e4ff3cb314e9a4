package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"podstep.dev/internal/fault"
)

func TestYamaIsJudgedByWhatItForbids(t *testing.T) {
	tests := map[string]struct {
		scope    string
		err      error
		mayTrace bool
		want     State
	}{
		"no Yama":               {"", fs.ErrNotExist, false, OK},
		"hidden":                {"", fs.ErrPermission, false, Warn},
		"unrestricted":          {"0", nil, false, OK},
		"ancestors":             {"1", nil, false, OK},
		"administrators":        {"2", nil, false, Fail},
		"administrators, as it": {"2", nil, true, OK},
		"nobody":                {"3", nil, true, Fail},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := yama(tt.scope, tt.err, tt.mayTrace)
			if got.State != tt.want || (got.State == Fail) != strings.Contains(got.Do, "ptrace_scope=1") {
				t.Errorf("yama(%q, %v, %v) = %+v, want %s", tt.scope, tt.err, tt.mayTrace, got, tt.want)
			}
		})
	}
}

func TestInterceptionSaysWhatTheProbeMissed(t *testing.T) {
	if got := interception(nil); got.State != OK {
		t.Errorf("without complaint: %+v", got)
	}
	got := interception(fmt.Errorf("answer by a descriptor (Linux 5.14): %w", unix.EINVAL))
	if got.State != Fail || !strings.Contains(got.Found, "Linux 5.14") || !strings.Contains(got.Do, "5.14 or later") {
		t.Errorf("an old kernel: %+v", got)
	}
	if got := interception(fmt.Errorf("held: %w", unix.EBUSY)); got.State != Fail || !strings.Contains(got.Do, "outside") {
		t.Errorf("below another supervisor: %+v", got)
	}
}

func TestDebuggersAreFineWithOne(t *testing.T) {
	missing := fault.New(fault.DebuggerMissing, "debugpy, the debugger for Python, is not installed", errors.New("exit status 1"))
	dlv := Debugger{Name: "dlv", Path: "/bin/dlv", Version: "1.27.1"}
	if got := debuggersFinding([]Debugger{dlv, {Name: "debugpy", Err: missing}}); got.State != OK || !strings.HasPrefix(got.Found, "dlv 1.27.1 (/bin/dlv)") {
		t.Errorf("one of two: %+v", got)
	}
	if got := debuggersFinding([]Debugger{{Name: "debugpy", Err: missing}}); got.State != Warn || !strings.Contains(got.Do, missing.What) {
		t.Errorf("none: %+v", got)
	}
}
