package doctor

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"podstep.dev/internal/fault"
	"podstep.dev/internal/program"
)

// GroupWorkstation is the heading of the workstation's checks.
const GroupWorkstation = "workstation"

// Debugger is a debugger as this machine has it.
type Debugger struct {
	Name, Path, Version string
	// Err says why it cannot be used; nil when it can.
	Err error
}

// Workstation makes the checks of this machine. debuggers looks for all debuggers.
func Workstation(debuggers func(context.Context) []Debugger) []Check {
	check := func(name string, run func(context.Context) Finding) Check {
		return Check{Group: GroupWorkstation, Name: name, Run: run}
	}
	return append(platform(),
		check("launcher", func(ctx context.Context) Finding { return programFinding(ctx, program.Launcher, fault.LauncherMissing) }),
		check("agent", func(ctx context.Context) Finding { return programFinding(ctx, program.Agent, fault.AgentMissing) }),
		check("debuggers", func(ctx context.Context) Finding { return debuggersFinding(debuggers(ctx)) }),
	)
}

// Of makes a finding of an error: a fault's words and its advice.
func Of(state State, err error) Finding {
	f := fault.As(err)
	return Finding{State: state, Found: fmt.Sprintf("%s [podstep-%d]", f.Summary(), f.ID), Do: f.Advice()}
}

// programFinding looks for one of podstep's own programs, which must be of one release.
func programFinding(ctx context.Context, name string, missing fault.ID) Finding {
	path, err := program.Find(name)
	if err != nil {
		return Of(Fail, fault.New(missing, name+" was not found", err))
	}
	out, err := exec.CommandContext(ctx, path, "version").Output()
	words := strings.Fields(string(out))
	if err != nil || len(words) != 2 || words[0] != name {
		return Finding{State: Fail, Found: path + " does not say its version", Do: "Install all three programs of one release into one directory."}
	}
	if words[1] != program.Version() {
		return Finding{
			State: Fail, Found: fmt.Sprintf("%s is %s, and podstep is %s", path, words[1], program.Version()),
			Do: "Install all three programs of one release into one directory.",
		}
	}
	return Finding{State: OK, Found: fmt.Sprintf("%s %s, %s", name, words[1], path)}
}

// debuggersFinding is fine with one of them: few people need two.
func debuggersFinding(all []Debugger) Finding {
	var found, missing []string
	for _, d := range all {
		if d.Err == nil {
			found = append(found, fmt.Sprintf("%s %s (%s)", d.Name, d.Version, d.Path))
			continue
		}
		text := d.Name + ": " + d.Err.Error()
		if f := (*fault.Fault)(nil); errors.As(d.Err, &f) {
			text = f.What + ". " + f.Advice()
		}
		missing = append(missing, text)
	}
	switch {
	case len(missing) == 0:
		return Finding{State: OK, Found: strings.Join(found, ", ")}
	case len(found) == 0:
		return Finding{State: Warn, Found: "none; podstep run works without", Do: strings.Join(missing, "\n")}
	}
	return Finding{State: OK, Found: strings.Join(found, ", ") + "; no other"}
}
