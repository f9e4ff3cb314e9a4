package tunnel

import (
	"errors"
	"sync"
	"sync/atomic"

	"podstep.dev/internal/http1"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

// errUnanswered is what a copied request ended with that the debuggee did not answer whole.
var errUnanswered = errors.New("the connection ended before the debuggee's answer did")

// targetAnswered is why the debuggee's answer to a copy is nobody's.
const targetAnswered = "the target answered its client"

// observer tells the Recorder of the requests in a copy of a connection, as its bytes pass by. It delays and changes nothing. What is no HTTP/1,
// or could be read in two ways, is not observed from there on. Asked is called by one goroutine, answered by another.
type observer struct {
	// begin begins to record a request. missed is as below.
	begin func(missed string) Recording
	// missed is why the debuggee does not get the requests that come, empty when it does.
	missed string

	// The request's side.
	head    []byte
	scanner *http1.Scanner
	asking  *observed
	blind   bool

	// The response's side.
	answering *observed
	response  response
	deaf      bool

	mu sync.Mutex
	// waiting are requests that no answer has begun to, in their order.
	waiting []*observed
}

// observed is a request and its answer.
type observed struct {
	Recording
	method string
	halves atomic.Int32
	once   sync.Once
}

func (o *observed) over(err error) { o.once.Do(func() { o.End(err) }) }

// half says that one direction is over; the second one ends the recording.
func (o *observed) half() {
	if o.halves.Add(1) == 2 {
		o.over(nil)
	}
}

// observe is a copy whose requests are told to the Recorder.
func (t *Tunnel) observe(stream *mux.Stream) *observer {
	h := stream.Header
	h.Protocol = wire.HTTP1
	return &observer{begin: func(missed string) Recording {
		rec := t.record(h)
		if missed != "" {
			rec.Went(WentTarget, missed)
			return rec
		}
		rec.SeenAs(h.From, 0)
		rec.Went(WentCopy, targetAnswered)
		return rec
	}}
}

// asked has the next bytes that the client sent.
func (o *observer) asked(b []byte) {
	for len(b) > 0 && !o.blind {
		b = b[o.take(b):]
	}
}

// isBetween says that the next byte begins a request.
func (o *observer) isBetween() bool { return !o.blind && o.scanner == nil && len(o.head) == 0 }

// take takes bytes of one request in, and returns how many.
func (o *observer) take(b []byte) int {
	if o.scanner == nil {
		return o.takeHead(b)
	}
	n, done, err := o.scanner.Take(b)
	o.asking.Request(b[:n])
	if done || err != nil {
		o.asking.half()
		o.scanner, o.asking, o.blind = nil, nil, o.blind || err != nil
	}
	return n
}

func (o *observer) takeHead(b []byte) int {
	before := len(o.head)
	o.head = append(o.head, b...)
	request, err := http1.ParseRequest(o.head)
	if err != nil {
		o.blind, o.head = true, nil
	}
	if request == nil {
		return len(b)
	}
	o.asking = &observed{Recording: o.begin(o.missed), method: request.Method}
	o.asking.Request(request.Raw)
	if o.missed == "" {
		o.mu.Lock()
		o.waiting = append(o.waiting, o.asking)
		o.mu.Unlock()
	} else {
		o.asking.half() // it is not answered here
	}
	o.head, o.scanner = nil, request.Body.Scanner()
	if _, done, _ := o.scanner.Take(nil); done {
		o.asking.half()
		o.scanner, o.asking = nil, nil
	}
	o.blind = request.Switch // what follows may be of another protocol
	return len(request.Raw) - before
}

// answered has the next bytes of the debuggee's answers, which nobody gets.
func (o *observer) answered(b []byte) {
	for len(b) > 0 && !o.deaf {
		if o.answering == nil && !o.next() {
			o.deaf = true // it says something unasked
			return
		}
		n := o.response.take(b)
		o.answering.Response(b[:n])
		b = b[n:]
		if o.response.over {
			o.answering.half()
			o.answering = nil
		}
	}
}

func (o *observer) next() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) == 0 {
		return false
	}
	o.answering, o.waiting = o.waiting[0], o.waiting[1:]
	o.response = response{method: o.answering.method, switched: func() {}}
	return true
}

// ended is called when both directions are over.
func (o *observer) ended() {
	if a := o.answering; a != nil {
		if o.response.plain {
			a.over(nil) // the end of the connection is that of the answer
		} else {
			a.over(errUnanswered)
		}
	}
	for _, w := range o.waiting {
		w.over(errUnanswered)
	}
	if o.asking != nil {
		o.asking.over(errUnanswered)
	}
}
