//go:build unix

package main

import (
	"os"
	"syscall"
)

// passedOn are the signals that run passes on to its command.
func passedOn() []os.Signal {
	return []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH}
}
