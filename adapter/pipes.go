package adapter

import (
	"errors"
	"fmt"
	"os"
	"unicode/utf8"

	"podstep.dev/launcher"
)

// pipes are a debugger's stdin, stdout and stderr: ours and theirs.
type pipes struct {
	dap     stdio // a debugger that speaks over stdio
	streams []stream
	theirs  []*os.File
	ours    []*os.File
}

// stream is one of a debugger's own outputs.
type stream struct {
	ours     *os.File
	category string
}

// make opens what a debugger needs. One that dials has its stdout free: that is the debuggee's.
func (p *pipes) make(dials bool) (launcher.Process, error) {
	var process launcher.Process
	in, toIn, errIn := p.pipe()
	fromOut, out, errOut := p.pipe()
	fromErr, errs, errErr := p.pipe()
	if err := errors.Join(errIn, errOut, errErr); err != nil {
		return process, fmt.Errorf("make pipes: %w", err)
	}
	p.theirs = append(p.theirs, in, out, errs)
	p.ours = append(p.ours, toIn, fromOut, fromErr)
	process.Stdin, process.Stdout, process.Stderr = in, out, errs
	p.streams = []stream{{fromErr, "stderr"}}
	if !dials {
		p.dap = stdio{fromOut, toIn}
		return process, nil
	}
	p.streams = append(p.streams, stream{fromOut, "stdout"})
	return process, toIn.Close() // nobody writes to the debuggee's stdin: it is at its end
}

func (p *pipes) pipe() (r, w *os.File, err error) { return os.Pipe() }

// closeTheirs closes the process's ends in this process.
func (p *pipes) closeTheirs() error { return closeAll(&p.theirs) }

// closeOurs ends the pumps even when something that outlived the debugger holds the other ends.
func (p *pipes) closeOurs() error { return closeAll(&p.ours) }

func closeAll(files *[]*os.File) error {
	var err error
	for _, f := range *files {
		if f == nil {
			continue
		}
		if e := f.Close(); e != nil && !errors.Is(e, os.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// stdio is a connection made of two files. Closing it closes both.
type stdio struct{ in, out *os.File }

func (s stdio) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s stdio) Write(b []byte) (int, error) { return s.out.Write(b) }
func (s stdio) Close() error                { return errors.Join(s.in.Close(), s.out.Close()) }

// pump tells what a stream carries until it ends, in whole characters.
func pump(from *os.File, category string, h heard) {
	buf := make([]byte, 32<<10)
	kept := 0
	for {
		n, err := from.Read(buf[kept:])
		n += kept
		whole := n
		if err == nil {
			whole = n - partial(buf[:n])
		}
		if whole > 0 {
			h.room()
			h.print(category, string(buf[:whole]))
		}
		kept = copy(buf, buf[whole:n])
		if err != nil {
			return
		}
	}
}

// partial returns how many bytes at the end of b begin a character that is not whole.
func partial(b []byte) int {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return i
			}
			return 0
		}
	}
	return 0
}
