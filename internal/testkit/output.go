package testkit

import (
	"strings"
	"sync"
)

// Output collects what a program prints while a test reads it. The zero value works.
type Output struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write keeps b. It never fails.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

// String returns all that was written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
