// Package requests is a session's memory of the HTTP requests that came to it: the last ones, what each was answered, how long it took and
// where it went. It keeps bytes as they were and shows them read, decoded and without secrets. It writes nothing to a disk and logs nothing.
package requests

import (
	"context"
	"slices"
	"sync"
	"time"

	"podstep.dev/internal/wire"
)

// Options of New. The zero value works.
type Options struct {
	// Entries bounds how many requests are kept. If zero, 200.
	Entries int
	// Bytes bounds what is kept of all of them. If zero, 16 MiB.
	Bytes int
	// Body bounds what is kept of each body, in bytes; the rest is counted. If zero, 256 KiB.
	Body int
	// Replay delivers raw to the debuggee's port that stands for the target's, records what comes of it in rec, and returns when that is
	// over. If nil, nothing can be replayed.
	Replay func(ctx context.Context, port uint16, raw []byte, rec *Recording) error
	// Control does something with requests that come. If nil, nothing can be done.
	Control Control
}

// Log keeps the last requests. It has no goroutine.
type Log struct {
	opts Options

	mu            sync.Mutex
	records       []*record // the oldest first
	last          uint64
	size          int
	subscriptions []*Subscription
}

// New returns an empty log.
func New(opts Options) *Log {
	if opts.Entries == 0 {
		opts.Entries = 200
	}
	if opts.Bytes == 0 {
		opts.Bytes = 16 << 20
	}
	if opts.Body == 0 {
		opts.Body = 256 << 10
	}
	return &Log{opts: opts}
}

// Begin takes a request that came.
func (l *Log) Begin(h wire.Header) *Recording { return l.begin(h, 0) }

func (l *Log) begin(h wire.Header, replayOf uint64) *Recording {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	r := &record{id: l.last, header: h, replayOf: replayOf, came: time.Now()}
	if len(l.records) >= l.opts.Entries && !l.dropFinished() {
		l.drop(0)
	}
	l.records = append(l.records, r)
	l.changed(r)
	return &Recording{log: l, record: r}
}

// List returns what is kept of those behind the one with the id since, without secrets, the oldest first; of more than limit
// the last ones. A limit of 0 is none.
func (l *Log) List(since uint64, limit int) []Summary {
	l.mu.Lock()
	kept := l.snapshot(func(r *record) bool { return r.id > since })
	l.mu.Unlock()
	if limit > 0 && len(kept) > limit {
		kept = kept[len(kept)-limit:]
	}
	list := make([]Summary, 0, len(kept))
	for _, r := range kept {
		list = append(list, r.summary(Masked))
	}
	return list
}

// Entry returns one request with what it was answered, and whether it is kept.
func (l *Log) Entry(id uint64, s Secrets) (Entry, bool) {
	r, ok := l.find(id)
	if !ok {
		return Entry{}, false
	}
	return r.entry(s), true
}

// Entries returns all that is kept, the oldest first.
func (l *Log) Entries(s Secrets) []Entry {
	return l.entries(s, func(*record) bool { return true })
}

// Inside returns the requests that the debuggee has at this moment, without secrets, the oldest first.
func (l *Log) Inside() []Entry {
	return l.entries(Masked, func(r *record) bool { return r.over.IsZero() && (r.went == Debuggee || r.went == Copy) })
}

func (l *Log) entries(s Secrets, wanted func(*record) bool) []Entry {
	l.mu.Lock()
	kept := l.snapshot(wanted)
	l.mu.Unlock()
	list := make([]Entry, 0, len(kept))
	for _, r := range kept {
		list = append(list, r.entry(s))
	}
	return list
}

func (l *Log) find(id uint64) (record, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := l.index(id); i >= 0 {
		return *l.records[i], true
	}
	return record{}, false
}

func (l *Log) index(id uint64) int {
	return slices.IndexFunc(l.records, func(r *record) bool { return r.id == id })
}

// snapshot copies the wanted records; the lock is held. Bytes that are kept are only ever added to, so they are shared.
func (l *Log) snapshot(wanted func(*record) bool) (kept []record) {
	for _, r := range l.records {
		if wanted(r) {
			kept = append(kept, *r)
		}
	}
	return kept
}

// room makes room for n more bytes and returns how many of them there is room for; the lock is held.
func (l *Log) room(n int) int {
	for l.size+n > l.opts.Bytes && l.dropFinished() {
	}
	return max(0, min(n, l.opts.Bytes-l.size))
}

// dropFinished forgets the oldest request that is over, if there is one; the lock is held.
func (l *Log) dropFinished() bool {
	i := slices.IndexFunc(l.records, func(r *record) bool { return !r.over.IsZero() })
	if i < 0 {
		return false
	}
	l.drop(i)
	return true
}

// drop forgets a request; the lock is held. What is still recorded of it is dropped.
func (l *Log) drop(i int) {
	r := l.records[i]
	l.records = slices.Delete(l.records, i, i+1)
	l.size -= cap(r.request.kept) + cap(r.response.kept)
	r.request.kept, r.response.kept, r.dropped = nil, nil, true
	for _, s := range l.subscriptions {
		s.dropped(r.id)
	}
}

// changed tells the subscriptions; the lock is held.
func (l *Log) changed(r *record) {
	for _, s := range l.subscriptions {
		s.changed(r.id)
	}
}
