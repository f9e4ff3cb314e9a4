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

// own has Close close a stream, and the file that it was made of.
func (s *stdio) own(stream, of *os.File) {
	s.files = append(s.files, stream)
	if stream != of {
		s.files = append(s.files, of)
	}
}

// editor is standard input and output as one connection. Streams that are files are made so that Close ends a Read:
// the Go runtime can take a Read back only from a descriptor that does not block.
func (p *podstep) editor() (io.ReadWriteCloser, error) {
	s := &stdio{Reader: p.in, Writer: p.out}
	if f, ok := p.in.(*os.File); ok {
		in, err := pollable(f)
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		s.Reader = in
		s.own(in, f)
	}
	if f, ok := p.out.(*os.File); ok {
		out, err := pollable(f)
		if err != nil {
			return nil, fmt.Errorf("standard output: %w", err)
		}
		s.Writer = out
		s.own(out, f)
	}
	return s, nil
}
