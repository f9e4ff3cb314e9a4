package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// stdio is the editor's end when it started podstep itself. Close ends a pending Read.
type stdio struct {
	io.Reader
	io.Writer
	files []*os.File
}

// Close closes both streams.
func (s *stdio) Close() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// editor is standard input and output as one connection. Streams that are files are made so that Close ends a Read:
// the Go runtime can take a Read back only from a descriptor that does not block.
func (p *podstep) editor() (io.ReadWriteCloser, error) {
	s := &stdio{Reader: p.in, Writer: p.out}
	if in, ok := p.in.(*os.File); ok {
		in, err := pollable(in)
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		s.Reader, s.files = in, append(s.files, in)
	}
	if out, ok := p.out.(*os.File); ok {
		out, err := pollable(out)
		if err != nil {
			return nil, fmt.Errorf("standard output: %w", err)
		}
		s.Writer, s.files = out, append(s.files, out)
	}
	return s, nil
}
