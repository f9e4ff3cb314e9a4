//go:build !unix

package main

import "os"

// pollable returns f: elsewhere nothing is to be done.
func pollable(f *os.File) (*os.File, error) { return f, nil }
