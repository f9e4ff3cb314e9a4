package launcher

import (
	"errors"
	"io"
)

// ErrKeeperLost : the keeper was killed. Its tree was ended, so the status of the process is a guess: SIGKILL.
var ErrKeeperLost = errors.New("keeper killed")

// Process says what Start runs. Argv is required.
type Process struct {
	// Argv is the program, looked for on Env's PATH, and its arguments.
	Argv []string
	// Env is the environment. If nil, this process's.
	Env []string
	// Dir is the working directory. If empty, this process's.
	Dir string
	// Stdin, Stdout and Stderr are the program's. An *os.File is passed straight through, nil is /dev/null; anything
	// else is copied by goroutines that end with the tree.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// SessionDir is removed by the keeper when this process is killed. If empty, nothing is removed.
	SessionDir string
	// Foreground makes the program's process group the terminal's foreground group, if Stdin is the terminal and this
	// process has it: Ctrl-C reaches only the program. The terminal comes back when the program ends or is stopped.
	Foreground bool
	// Suspend is called when the terminal stopped the program (Ctrl-Z); the program goes on when it returns. If nil,
	// this process's group is stopped until the shell continues it, as the shell expects.
	Suspend func()
}
