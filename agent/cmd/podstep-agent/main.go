//go:build linux

// Command podstep-agent runs in the target's namespaces and serves sessions there. Nobody reaches it but who may start a
// program in its container.
package main

import (
	"fmt"
	"os"

	"podstep.dev/internal/program"
)

const usage = `usage: podstep-agent COMMAND

  serve --pid N   serve one session over standard input and output, in the namespaces that this process is in
  resident        be a container's main process, and serve the sessions that join
  join            make standard input and output a session's link to the resident
  sessions        print the resident's sessions as JSON
  version         print the version`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	switch command, args := os.Args[1], os.Args[2:]; command {
	case "serve":
		os.Exit(serve(args))
	case "resident":
		os.Exit(resident(args))
	case "join":
		os.Exit(join(args))
	case "sessions":
		os.Exit(sessions(args))
	case "version":
		fmt.Println(program.Agent, program.Version())
	default:
		fmt.Fprintf(os.Stderr, "podstep-agent: no command %q\n%s\n", command, usage)
		os.Exit(2)
	}
}
