// Package visit is a customer of the shop in test/debuggees: it asks all the time, with a new connection for every request (or one for all),
// whatever becomes of the last one, and remembers when each request was made and who answered it. Tests of whole sessions
// tell by it who serves, since when, and what an outage cost. Beside it there is a load on kept connections for several parties in
// turn, and a tally that counts what came, for tests of who gets which request.
package visit

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// Request is one request, as the customer saw it.
type Request struct {
	// N is its number, which is also the cart's: /cart/N.
	N     int           `json:"n"`
	Began time.Time     `json:"began"`
	Took  time.Duration `json:"took"`
	// By is who answered (the shop's $ANSWERED_BY), empty if nobody did.
	By string `json:"by,omitempty"`
	// Host is the hostname of who answered.
	Host string `json:"host,omitempty"`
	// Seen is the customer's address as who answered saw it, "10.0.0.9:41234".
	Seen string `json:"seen,omitempty"`
	// Price is in cents; the shop asks the stock for it.
	Price int    `json:"price,omitempty"`
	Error string `json:"error,omitempty"`
}

// Ended is when the answer, or the failure, was there.
func (r Request) Ended() time.Time { return r.Began.Add(r.Took) }

// By holds for requests that who answered.
func By(who string) func(Request) bool {
	return func(r Request) bool { return r.By == who }
}

// Summary describes the first of the requests, a line each.
func Summary(requests []Request) string {
	var b strings.Builder
	for _, r := range requests[:min(len(requests), 5)] {
		fmt.Fprintf(&b, "\n  %s after %v: %s", r.Began.Format("05.000"), r.Took.Round(time.Millisecond), r.Error)
	}
	return b.String()
}

// Book is what a customer did so far. The zero value works.
type Book struct {
	mu       sync.Mutex
	known    map[int]bool
	requests []Request // in the order of their ends
}

// Add notes r, once: a request that is known already is left out.
func (b *Book) Add(r Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.known == nil {
		b.known = map[int]bool{}
	}
	if !b.known[r.N] {
		b.known[r.N] = true
		b.requests = append(b.requests, r)
	}
}

// First returns the first request that began after since and that want holds for.
func (b *Book) First(since time.Time, want func(Request) bool) (Request, bool) {
	if found := b.pick(since, 1, want); len(found) > 0 {
		return found[0], true
	}
	return Request{}, false
}

// All returns the requests that began after since and that want holds for.
func (b *Book) All(since time.Time, want func(Request) bool) []Request {
	return b.pick(since, 0, want)
}

// pick is at most limit requests; 0 is no limit.
func (b *Book) pick(since time.Time, limit int, want func(Request) bool) (found []Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		if r.Began.After(since) && want(r) {
			found = append(found, r)
			if len(found) == limit {
				break
			}
		}
	}
	return found
}

// Failed returns the requests that were under way after since and that nobody answered.
func (b *Book) Failed(since time.Time) (failed []Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		if r.Ended().After(since) && r.By == "" {
			failed = append(failed, r)
		}
	}
	return failed
}

// Last is when the last request that is known ended.
func (b *Book) Last() (last time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		if r.Ended().After(last) {
			last = r.Ended()
		}
	}
	return last
}
