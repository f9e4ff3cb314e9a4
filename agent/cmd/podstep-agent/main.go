//go:build linux

// Command podstep-agent runs in the target's namespaces and serves a session there. It listens nowhere.
package main

import (
	"fmt"
	"os"

	"podstep.dev/internal/program"
)

const usage = `usage: podstep-agent COMMAND

  serve --pid N   serve one session over standard input and output, in the namespaces that this process is in
  version         print the version`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	switch command, args := os.Args[1], os.Args[2:]; command {
	case "serve":
		os.Exit(serve(args))
	case "version":
		fmt.Println(program.Agent, program.Version())
	default:
		fmt.Fprintf(os.Stderr, "podstep-agent: no command %q\n%s\n", command, usage)
		os.Exit(2)
	}
}
