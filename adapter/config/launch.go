package config

// Launch is a configuration of type podstep as an editor knows it: two keys of ours, and those that are handed to the
// debugger as they are. It is documentation; nothing reads a configuration into it.
type Launch struct {
	// The debugger that podstep starts: `dlv` for Go, `debugpy` for Python.
	Debugger string `json:"debugger" jsonschema:"required,enum=dlv,enum=debugpy"`
	// What the debuggee stands in for, and what it gets of it.
	Mirror Mirror `json:"mirror" jsonschema:"required"`

	// The program: a Go package or binary for dlv, a file for debugpy.
	Program string `json:"program,omitempty"`
	// The program's arguments.
	Args []string `json:"args,omitempty"`
	// The program's working directory.
	Cwd string `json:"cwd,omitempty"`
	// Environment variables of the program. They win over the target's.
	Env map[string]string `json:"env,omitempty"`
	// Whether to stop at the program's first line.
	StopOnEntry bool `json:"stopOnEntry,omitempty"`

	// dlv: `debug` builds a package, `test` builds its tests, `exec` takes a binary as it is.
	Mode string `json:"mode,omitempty" jsonschema:"enum=debug,enum=test,enum=exec,default=debug"`
	// dlv: flags of `go build`.
	BuildFlags any `json:"buildFlags,omitempty" jsonschema:"oneof_type=string;array"`
	// dlv: where the built program is written.
	Output string `json:"output,omitempty"`
	// dlv: the directory that builds run in; default is `cwd`'s or the program's own.
	DlvCwd string `json:"dlvCwd,omitempty"`
	// dlv: pairs of paths, on this machine and in the binary.
	SubstitutePath []any `json:"substitutePath,omitempty"`
	// dlv: how deep stack traces go.
	StackTraceDepth int `json:"stackTraceDepth,omitempty" jsonschema:"default=50"`
	// dlv: whether global variables are shown.
	ShowGlobalVariables bool `json:"showGlobalVariables,omitempty"`
	// dlv: whether registers are shown.
	ShowRegisters bool `json:"showRegisters,omitempty"`
	// dlv: whether the runtime's goroutines are hidden.
	HideSystemGoroutines bool `json:"hideSystemGoroutines,omitempty"`
	// dlv: which goroutines are shown.
	GoroutineFilters string `json:"goroutineFilters,omitempty"`

	// debugpy: a module to run instead of a program.
	Module string `json:"module,omitempty"`
	// debugpy: the interpreter, with its arguments if it is a list.
	Python any `json:"python,omitempty" jsonschema:"oneof_type=string;array"`
	// debugpy: arguments of the interpreter.
	PythonArgs []string `json:"pythonArgs,omitempty"`
	// debugpy: where the program runs.
	Console string `json:"console,omitempty" jsonschema:"enum=internalConsole,enum=integratedTerminal,enum=externalTerminal"`
	// debugpy: whether only the user's own code is stepped through.
	JustMyCode bool `json:"justMyCode,omitempty" jsonschema:"default=true"`
	// debugpy: whether child processes are debugged too.
	SubProcess bool `json:"subProcess,omitempty"`
	// debugpy: whether the program's output is shown in the debug console.
	RedirectOutput bool `json:"redirectOutput,omitempty"`
	// debugpy: whether a function's return value is shown.
	ShowReturnValue bool `json:"showReturnValue,omitempty"`
	// debugpy: whether Django templates are debugged.
	Django bool `json:"django,omitempty"`
	// debugpy: whether Jinja templates are debugged.
	Jinja bool `json:"jinja,omitempty"`
	// debugpy: whether gevent's monkey-patched code is debugged.
	Gevent bool `json:"gevent,omitempty"`
	// debugpy: pairs of roots, on this machine and in the program.
	PathMappings []any `json:"pathMappings,omitempty"`
}
