// Package debugger knows the real debuggers that podstep wraps, one file each: where they are found, how they start, and how a launch
// configuration must change so that the debuggee, and nothing else, runs intercepted. It starts no debugger and reads no protocol.
package debugger

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"

	"podstep.dev/internal/fault"
)

// Debugger is one kind of debugger.
type Debugger interface {
	// Name is what "debugger" in a launch configuration calls it.
	Name() string
	// Capabilities is the body of its answer to initialize, recorded from the version that the tests run.
	Capabilities() json.RawMessage
	// Check says at once what of a launch cannot work: attributes that are wrong, a debugger that is not there. It needs no Dir, and
	// builds and starts nothing. Errors are *fault.Fault.
	Check(ctx context.Context, launch Launch) error
	// Prepare finds the debugger's program, checks the attributes and builds where the debugger itself would have built. It runs outside
	// the interception: the target's environment never reaches a compiler. Errors are *fault.Fault.
	Prepare(ctx context.Context, launch Launch) (Prepared, error)
	// Wrap is pure: it says how to start the debugger and what to launch, intercepted.
	Wrap(p Prepared, in Interception) Wrapped
	// Clues tell which request a stopped thread works on, the best first. None: nothing is asked.
	Clues() []Clue
}

// Launch is what Prepare gets.
type Launch struct {
	// Attributes are those of the editor without podstep's own keys.
	Attributes Attributes
	// Dir takes what is built; it goes with the session.
	Dir string
	// Generation counts the session's launches: a restart builds while the debuggee still runs.
	Generation int
	// Environ is the environment of podstep, as os.Environ returns it.
	Environ []string
	// Say shows text to the person; category is "console", "stdout" or "stderr".
	Say func(category, text string)
}

// Prepared is a launch that is ready to be wrapped.
type Prepared struct {
	// Attributes to launch with.
	Attributes Attributes
	// Program is the debugger's command line so far.
	Program []string
	// Debuggee is the interpreter that runs the debuggee, where there is one.
	Debuggee []string
	// Dir is the working directory of the debugger; empty means podstep's own.
	Dir string
}

// Interception is what the borrow offers.
type Interception struct {
	// Command prefixes argv so that it runs intercepted. traced: argv is a debugger, only what it traces is intercepted.
	Command func(argv []string, traced bool) []string
	// Env is the part of the target's environment that the debuggee gets.
	Env map[string]string
	// Socket is where a debugger that dials shall dial.
	Socket string
}

// Wrapped says how to start a debugger.
type Wrapped struct {
	// Attributes to launch with.
	Attributes Attributes
	// Argv is the whole command line.
	Argv []string
	// Dir is the working directory; empty means podstep's own.
	Dir string
	// Dials: the debugger dials Interception.Socket. Otherwise it speaks over its stdin and stdout.
	Dials bool
}

// Known lists the debuggers.
func Known() []Debugger { return []Debugger{dlv{}, debugpy{}} }

// names are what editors call the debuggers: the types of launch configurations and adapters.
func names() map[string]Debugger {
	return map[string]Debugger{
		"dlv": dlv{}, "delve": dlv{}, "go": dlv{},
		"debugpy": debugpy{}, "python": debugpy{},
	}
}

// Named returns the debugger called name: "dlv", or the type of a launch configuration that is its ("go"). It is nil when none is.
func Named(name string) Debugger { return names()[name] }

// Choose finds the debugger for a launch configuration: by "debugger", else by the type that the editor's own configuration had, else by the
// program's extension. The error is a *fault.Fault.
func Choose(a Attributes) (Debugger, error) {
	if name := a.Text("debugger"); name != "" {
		if d := Named(name); d != nil {
			return d, nil
		}
		return nil, fault.New(fault.UnknownDebugger, `podstep does not know the debugger "`+name+`"`, nil)
	}
	if original := a.Text("__podstepType"); original != "" {
		if d := Named(original); d != nil {
			return d, nil
		}
		return nil, fault.New(fault.UnknownDebugger, `podstep does not know the debugger of type "`+original+`"`, nil)
	}
	if d := Named(a.Text("type")); d != nil {
		return d, nil
	}
	program := a.Text("program")
	switch {
	case strings.HasSuffix(program, ".py"), program == "" && a.Has("module"):
		return debugpy{}, nil
	case filepath.Ext(program) == ".go", a.Has("mode"), a.Has("dlvToolPath"):
		return dlv{}, nil
	}
	return nil, &fault.Fault{
		ID: fault.UnknownDebugger, What: "the launch configuration does not say which debugger to use",
		Hint: `Add "debugger": "dlv" or "debugger": "debugpy" to it.`,
	}
}

// Own reports whether an attribute is podstep's, not the debugger's.
func Own(name string) bool {
	return name == "mirror" || name == "debugger" || strings.HasPrefix(name, "__podstep")
}
