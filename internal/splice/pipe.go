package splice

import "errors"

// errNoMemory says that there is no memory for what a pipe would hold.
var errNoMemory = errors.New("no memory for a pipe")

// WriteError is an error of the side that bytes were moved to.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return e.Err.Error() }
func (e *WriteError) Unwrap() error { return e.Err }

// Move waits for bytes from one socket, at most most, and passes them on to the other one. Its error is io.EOF at the end of
// from, a *WriteError when to takes no more, else from's. Where nothing can be moved, for want of memory, n is 0 without an error: then
// they are to be copied.
func (p *Pipe) Move(to, from Socket, most int64) (n int, err error) {
	n, err = p.fill(from.Socket(), most)
	if err != nil {
		if errors.Is(err, errNoMemory) {
			err = nil
		}
		return 0, err
	}
	from.Moved(n)
	if err := p.drain(to.Socket()); err != nil {
		return n, &WriteError{err}
	}
	to.Moved(n)
	return n, nil
}
