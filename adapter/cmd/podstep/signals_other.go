//go:build !unix

package main

import "os"

// passedOn are the signals that run passes on to its command.
func passedOn() []os.Signal { return []os.Signal{os.Interrupt} }
