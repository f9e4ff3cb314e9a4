// Package sieve tells the requests apart in what the client of one connection sends, and lets those through that a filter
// wants: of HTTP/1 byte for byte, of HTTP/2 with prior knowledge field for field. It hears nothing of the answers, does no I/O
// and has no clock. Bytes that it cannot tell apart it never lets through: it says why, and is deaf from there on.
package sieve

import (
	"bytes"
	"strings"

	"golang.org/x/net/http2"

	"podstep.dev/internal/filter"
	"podstep.dev/internal/http1"
	"podstep.dev/internal/wire"
)

// Copies are handed what is let through.
type Copies interface {
	// Keep takes bytes of wanted requests in order; begins says that a request begins with them. It keeps nothing of p. Requests of HTTP/1 are
	// all of copy 0, as they were sent. One of HTTP/2 is a message of package h2, of the copy that has the number of its stream.
	Keep(copy uint32, p []byte, begins bool)
	// End says of a request of HTTP/2 that it is whole, that its client gave it up, which is context.Canceled and may be said of a whole one,
	// too, and of one that nobody kept; or why no more of it is let through.
	End(copy uint32, err error)
}

// UnreadError says why no further request is told apart.
type UnreadError struct {
	Why wire.Unread
	// Torn says that a request was let through in part.
	Torn bool
}

func (e *UnreadError) Error() string { return "requests cannot be told apart: " + string(e.Why) }

// place is where in the client's bytes a sieve is.
type place int

const (
	// atHead : in a request's head, or before it.
	atHead place = iota
	// undecided : in the body that the filter looks into.
	undecided
	inBody
	// inStreams : in HTTP/2.
	inStreams
	// past : no other request follows.
	past
)

// Sieve is for one connection and one goroutine.
type Sieve struct {
	filter  *filter.Matcher
	leftOut func(filter.Request) bool
	// streams has a connection that is of HTTP/2; nil until it is known to be.
	streams *streams

	at place
	// held is what is known of a request that is not decided: of its head, or all from its head on.
	held []byte
	// request and head, the length of its head in held, are of the request whose body the filter looks into.
	request *http1.Request
	head    int
	scanner *http1.Scanner
	// wanted, closes and switches are of the request whose body comes.
	wanted, closes bool
	switches       switching
	// begun says that a request was told apart.
	begun bool
	err   error
}

// switching says what may follow a request.
type switching int

const (
	noSwitch switching = iota
	// plainly : another protocol, none of whose beginnings is a request's.
	plainly
	// anyhow : another protocol, which may look like anything.
	anyhow
)

// New makes a sieve that lets through what matches the filter and is not left out.
func New(m *filter.Matcher, leftOut func(filter.Request) bool) *Sieve {
	return &Sieve{filter: m, leftOut: leftOut}
}

// Held is the memory in bytes of what is not decided: at most about a head and filter.MaxBody, and what growing wastes; of HTTP/2 that
// of maxUndecided requests, and what is known of header fields and frames.
func (s *Sieve) Held() int {
	if s.streams != nil {
		return s.streams.held()
	}
	return cap(s.held)
}

// Take takes in the next bytes. Its error is an *UnreadError, which further calls give again.
func (s *Sieve) Take(b []byte, out Copies) error {
	for len(b) > 0 && s.err == nil {
		n := len(b)
		switch s.at {
		case atHead:
			n = s.takeHead(b, out)
		case undecided:
			n = s.takeUndecided(b, out)
		case inBody:
			n = s.takeBody(b, out)
		case inStreams:
			if s.err = s.streams.take(b, out); s.err != nil {
				s.streams = nil
			}
		}
		b = b[n:]
	}
	return s.err
}

// End says that the client has no more to say. What is undecided is decided by what there is of it.
func (s *Sieve) End(out Copies) error {
	switch {
	case s.err != nil:
	case s.at == undecided:
		s.decide(s.held[s.head:], out)
	case s.at == atHead && len(s.held) > 0 && string(s.held) != "\r\n":
		s.giveUp(wire.UnreadOdd)
	}
	s.held, s.streams = nil, nil
	return s.err
}

// takeHead takes in the bytes of a head, and says how many.
func (s *Sieve) takeHead(b []byte, out Copies) int {
	before, known := len(s.held), b
	if before > 0 {
		b = b[:min(len(b), http1.MaxHead-before)]
		s.held = append(s.held, b...)
		known = s.held
	}
	if s.switches == anyhow {
		s.giveUp(wire.UnreadUpgrade)
		return len(b)
	}
	if !s.begun && string(known) == tlsBegins {
		// The next byte tells.
		s.held = []byte(tlsBegins)
		return len(b)
	}
	if !s.begun && mayBeHTTP2(known) {
		return s.takePreface(known, before)
	}
	request, err := http1.ParseRequest(known)
	switch {
	case err != nil:
		s.giveUp(s.why(known, err))
	case request != nil:
		s.begin(request, out)
		return len(request.Raw) - before
	case before == 0:
		s.held = append(s.held, b...)
	}
	return len(b)
}

// mayBeHTTP2 says whether a connection's first bytes are those of HTTP/2 with prior knowledge, as far as they are known (RFC 9113 §3.4).
func mayBeHTTP2(b []byte) bool {
	n := min(len(b), len(http2.ClientPreface))
	return string(b[:n]) == http2.ClientPreface[:n]
}

// takePreface takes in bytes of HTTP/2's preface, and says how many behind those that were held before.
func (s *Sieve) takePreface(known []byte, before int) int {
	if len(known) < len(http2.ClientPreface) {
		s.held = append([]byte(nil), known...)
		return len(known) - before
	}
	s.at, s.held = inStreams, nil
	s.streams = newStreams(s.filter, s.leftOut)
	return len(http2.ClientPreface) - before
}

func (s *Sieve) why(b []byte, err error) wire.Unread {
	why := Why(b, err, !s.begun)
	if why == wire.UnreadOther && s.switches != noSwitch {
		return wire.UnreadUpgrade
	}
	return why
}

// begin decides about a request by its head, or has its body looked into.
func (s *Sieve) begin(r *http1.Request, out Copies) {
	s.begun = true
	s.scanner, s.closes, s.switches = r.Body.Scanner(), r.Close, switchingOf(r)
	// An empty line before it is no part of it, and not every server skips that.
	raw := bytes.TrimPrefix(r.Raw, []byte("\r\n"))
	verdict := filter.No
	if about := About(r); !s.leftOut(about) {
		verdict = s.filter.Match(about)
	}
	if verdict == filter.NeedsBody {
		s.at, s.request, s.head = undecided, r, len(raw)
		s.held = append(make([]byte, 0, len(raw)+int(min(r.Body.Length, filter.MaxBody))), raw...)
		if r.Body.Kind == http1.None || r.Body.Length > filter.MaxBody {
			s.decide(nil, out)
		}
	} else {
		s.settle(verdict == filter.Yes, raw, out)
	}
	if _, done, _ := s.scanner.Take(nil); done {
		s.finish()
	}
}

// takeUndecided takes in the bytes of a body that the filter looks into.
func (s *Sieve) takeUndecided(b []byte, out Copies) int {
	room := filter.MaxBody - (len(s.held) - s.head)
	n, done, err := s.scanner.Take(b[:min(len(b), room)])
	s.held = append(s.held, b[:n]...)
	switch {
	case err != nil:
		s.giveUp(wire.UnreadOdd)
	case done || n == room:
		s.decide(s.held[s.head:], out)
		if done {
			s.finish()
		}
	}
	return n
}

// decide asks the filter about a request of whose body so much is known, framing included.
func (s *Sieve) decide(body []byte, out Copies) {
	content, complete := Content(s.request.Body, body)
	verdict := s.filter.MatchBody(About(s.request), content, complete)
	s.settle(verdict == filter.Yes, s.held, out)
}

// settle goes on to the rest of a request that is decided.
func (s *Sieve) settle(wanted bool, known []byte, out Copies) {
	s.at, s.wanted = inBody, wanted
	if wanted {
		out.Keep(0, known, true)
	}
	s.held, s.request = nil, nil
}

// takeBody takes in the bytes of a body that is let through, or not.
func (s *Sieve) takeBody(b []byte, out Copies) int {
	n, done, err := s.scanner.Take(b)
	if n > 0 && s.wanted {
		out.Keep(0, b[:n], false)
	}
	switch {
	case err != nil:
		s.err = &UnreadError{Why: wire.UnreadOdd, Torn: s.wanted}
	case done:
		s.finish()
	}
	return n
}

// finish ends a request.
func (s *Sieve) finish() {
	s.at = atHead
	if s.closes && s.switches == noSwitch {
		// What a client sends after this no server reads.
		s.at = past
	}
}

func (s *Sieve) giveUp(why wire.Unread) {
	s.held, s.request, s.err = nil, nil, &UnreadError{Why: why}
}

// switchingOf says what may follow a request. Without the answer nobody knows whether the server went over to what the
// client offers. A client's frames of WebSocket have the high bit in their second byte (RFC 6455 §5.2), and HTTP/2
// begins with a method that HTTP/1 never has (RFC 9113 §3.4), so that what follows such an offer tells itself.
func switchingOf(r *http1.Request) switching {
	if !r.Switch {
		return noSwitch
	}
	if r.Method == "CONNECT" {
		return anyhow
	}
	for _, value := range http1.Values(r.Fields, "Upgrade") {
		for protocol := range strings.SplitSeq(value, ",") {
			switch strings.ToLower(strings.Trim(protocol, " \t")) {
			case "h2c", "websocket":
			default:
				return anyhow
			}
		}
	}
	return plainly
}
