//go:build linux

// Command part is what the benchmark in a cluster runs in its pods and as the debuggee: one of the roles of package role.
package main

import (
	"fmt"
	"os"

	"podstep.dev/test/bench/role"
)

func main() {
	if err := role.Play(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "part:", err)
		os.Exit(1)
	}
}
