package borrow

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

const (
	// firstDelay is the wait before the first try to get a link back; each further one is twice as long.
	firstDelay = 50 * time.Millisecond
	// maxDelay is the longest wait between tries.
	maxDelay = 5 * time.Second
	// steady is how long a link must have lived for the waits to begin anew.
	steady = 10 * time.Second
)

// backoff counts the waits between tries. The zero value is before the first.
type backoff struct{ tries int }

// luck is anything in [0, 1).
func luck() float64 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // it never fails
	return float64(binary.LittleEndian.Uint32(b[:])) / (1 << 32)
}

// next is the wait before the next try. luck shortens it by up to a quarter, so that many sessions that lost their links
// at once do not come back at once.
func (b *backoff) next(luck float64) time.Duration {
	delay := maxDelay
	if b.tries < 7 { // beyond, the doubled delay is longer than maxDelay
		delay = min(maxDelay, firstDelay<<b.tries)
		b.tries++
	}
	return delay - time.Duration(luck*float64(delay)/4)
}
