package place

import (
	"context"
	"io"
	"time"
)

// First reads a connection to an agent, whose first byte it waits for: an agent that has said one is up, and what went
// wrong with one that never does is known by whoever started it. The zero value works. It is read by one goroutine at a time.
type First struct{ ahead []byte }

// Await reads the first byte from conn, which comes again from Read. It waits at most bound; when that, or ctx, is over
// it calls interrupt, which must end the read, and returns why. io.EOF means that the other end said nothing.
func (f *First) Await(ctx context.Context, conn io.Reader, bound time.Duration, interrupt func()) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	stop := context.AfterFunc(ctx, interrupt)
	var one [1]byte
	n, err := conn.Read(one[:])
	if !stop() {
		return context.Cause(ctx)
	}
	if n == 1 {
		f.ahead = one[:]
		return nil
	}
	return err
}

// Read reads from conn what comes after Await, beginning with the byte that it read.
func (f *First) Read(conn io.Reader, b []byte) (int, error) {
	if len(f.ahead) > 0 && len(b) > 0 {
		n := copy(b, f.ahead)
		f.ahead = f.ahead[n:]
		return n, nil
	}
	return conn.Read(b)
}
