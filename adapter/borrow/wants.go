package borrow

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/filter"
)

// keyLength is that of a session's own key, in characters of five bits.
const keyLength = 12

// wants says which requests a session wants.
type wants struct {
	filter filter.Filter
	// text is the filter as an agent is told it, nil for all requests.
	text json.RawMessage
	// key is the session's own, if its filter is that.
	key string
}

// choose settles which requests the session wants, and mints its key if it wants its own.
func (b *Borrow) choose(f config.Filter) error {
	if f.IsZero() {
		return nil
	}
	if f.Mine {
		b.wants.key = strings.ToLower(rand.Text()[:keyLength])
	}
	b.wants.filter = f.With(b.wants.key)
	var err error
	if b.wants.text, err = json.Marshal(b.wants.filter); err != nil {
		return fmt.Errorf("write the filter: %w", err)
	}
	return nil
}

// filtered says whether only some requests come.
func (w wants) filtered() bool { return w.text != nil }

// say tells the person which.
func (w wants) say(say func(string)) {
	switch {
	case w.key != "":
		say(fmt.Sprintf("only requests with this session's key come, for example: curl -H 'baggage: podstep=%s' ...", w.key))
	case w.filtered():
		say(fmt.Sprintf("only requests with %s come, all others stay the target's", w.filter))
	}
}
