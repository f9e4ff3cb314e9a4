package config_test

import (
	"testing"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
)

func TestParseTargetReadsAProcess(t *testing.T) {
	got, err := config.ParseTarget("process/4242")
	if want := (config.Target{Kind: config.KindProcess, PID: 4242}); err != nil || got != want {
		t.Errorf("ParseTarget = %v, %v; want %v", got, err, want)
	}
	if got.String() != "process/4242" {
		t.Errorf("String = %q, want process/4242", got)
	}
}

func TestParseTargetSaysWhatIsWrong(t *testing.T) {
	for s, want := range map[string]string{
		"":                     `the target is empty; want process/PID, for example process/4242`,
		"4242":                 `target "4242" has no kind; did you mean process/4242?`,
		"web":                  `target "web" has no kind; want process/PID, for example process/4242`,
		"process/":             `target "process/" has no process id; want process/PID, for example process/4242`,
		"process/0":            `target "process/0" has no process id; want process/PID, for example process/4242`,
		"process/-1":           `target "process/-1" has no process id; want process/PID, for example process/4242`,
		"process/01":           `target "process/01" has no process id; want process/PID, for example process/4242`,
		"process/4194305":      `target "process/4194305" has no process id; want process/PID, for example process/4242`,
		"process/1/x":          `target "process/1/x" has no process id; want process/PID, for example process/4242`,
		"proces/1":             `target "proces/1" is of the unknown kind "proces"; want process/PID (did you mean "process/1"?)`,
		"ship/1":               `target "ship/1" is of the unknown kind "ship"; want process/PID`,
		"deployment/web":       `target "deployment/web" is in a cluster; this version borrows only a process on this machine: process/PID`,
		"pod/web-0":            `target "pod/web-0" is in a cluster; this version borrows only a process on this machine: process/PID`,
		"sts/db/container/app": `target "sts/db/container/app" is in a cluster; this version borrows only a process on this machine: process/PID`,
	} {
		_, err := config.ParseTarget(s)
		if f := fault.As(err); f.ID != fault.BadConfig || f.What != want {
			t.Errorf("ParseTarget(%q)\n got %v\nwant %s", s, err, want)
		}
	}
}
