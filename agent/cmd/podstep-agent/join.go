//go:build linux

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"podstep.dev/agent/door"
	"podstep.dev/internal/program"
)

// doorTimeout is how long the resident's door may take to be there.
const doorTimeout = 5 * time.Second

// join makes standard input and output a link of the resident agent, and ends with it.
func join(args []string) int {
	socket, ok := socketFlag("join", args)
	if !ok {
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), doorTimeout)
	defer cancel()
	return report(door.Join(ctx, socket, 0, 1))
}

// sessions prints the resident agent's sessions.
func sessions(args []string) int {
	socket, ok := socketFlag("sessions", args)
	if !ok {
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), doorTimeout)
	defer cancel()
	list, err := door.Sessions(ctx, socket)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(list)
	}
	return report(err)
}

func socketFlag(command string, args []string) (socket string, ok bool) {
	flags := flag.NewFlagSet("podstep-agent "+command, flag.ContinueOnError)
	flags.StringVar(&socket, "socket", door.Path, "`path` of the resident's door")
	return socket, flags.Parse(args) == nil && flags.NArg() == 0
}

func report(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", program.Agent, err)
	return 1
}
