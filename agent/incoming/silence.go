//go:build linux

package incoming

import "sync/atomic"

// silence keeps clients from waiting for an adapter that does not answer: a link over which nothing comes is not known to be
// lost before its heartbeats tell. The zero value works.
type silence struct{ fallen, trying atomic.Bool }

// ask says whether a connection may be offered: any as long as the adapter answers, then one at a time. Who was told yes
// calls heard.
func (s *silence) ask() bool { return !s.fallen.Load() || s.trying.CompareAndSwap(false, true) }

// heard says whether there was an answer, be it a no.
func (s *silence) heard(answer bool) {
	s.fallen.Store(!answer)
	s.trying.Store(false)
}
