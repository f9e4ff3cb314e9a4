package dap

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// Types of messages.
const (
	Request  = "request"
	Response = "response"
	Event    = "event"
)

// ErrMessage says that a body is no message of the protocol.
var ErrMessage = errors.New("not a message of the debug adapter protocol")

// Message is an envelope over a message's own bytes. It is a value; its methods never change Raw.
type Message struct {
	// Seq is the sender's number; 0 when the sender gave none.
	Seq int
	// Type is Request, Response or Event.
	Type string
	// Command names a request, or the request that a response answers.
	Command string
	// Event names an event.
	Event string
	// RequestSeq is the number of the request that a response answers.
	RequestSeq int
	// Success of a response.
	Success bool
	// Raw is the whole body as it was sent.
	Raw []byte

	members []member
}

// Parse reads the envelope of raw, which it keeps.
func Parse(raw []byte) (Message, error) {
	m := Message{Raw: raw}
	var err error
	if m.members, err = scan(raw); err != nil {
		return m, err
	}
	for name, to := range map[string]any{
		"seq": &m.Seq, "type": &m.Type, "command": &m.Command, "event": &m.Event, "request_seq": &m.RequestSeq, "success": &m.Success,
	} {
		value := m.Field(name)
		if value == nil {
			continue
		}
		if err := json.Unmarshal(value, to); err != nil {
			return m, fmt.Errorf("%w: %q: %w", ErrMessage, name, err)
		}
	}
	switch {
	case m.Type == Request && m.Command != "", m.Type == Response, m.Type == Event && m.Event != "":
		return m, nil
	}
	return m, fmt.Errorf("%w: type %q without its name", ErrMessage, m.Type)
}

// Field returns the bytes of a top-level member, nil when there is none. The last one of several with the same name counts.
func (m Message) Field(name string) json.RawMessage {
	for i := len(m.members) - 1; i >= 0; i-- {
		if f := m.members[i]; f.name == name {
			return json.RawMessage(m.Raw[f.from:f.to])
		}
	}
	return nil
}

// Decode unmarshals the member called name ("arguments" or "body") into to. A missing member leaves to as it is.
func (m Message) Decode(name string, to any) error {
	value := m.Field(name)
	if value == nil {
		return nil
	}
	if err := json.Unmarshal(value, to); err != nil {
		return fmt.Errorf("decode %s of %s%s: %w", name, m.Command, m.Event, err)
	}
	return nil
}

// Numbered returns the message's bytes with another seq and everything else as it was.
func (m Message) Numbered(seq int) []byte {
	return m.With(Field{"seq", number(seq)})
}

// Answering returns a response's bytes with another seq and request_seq and everything else as it was.
func (m Message) Answering(seq, requestSeq int) []byte {
	return m.With(Field{"seq", number(seq)}, Field{"request_seq", number(requestSeq)})
}

// Field is a top-level member to set.
type Field struct {
	Name  string
	Value json.RawMessage
}

// With returns the message's bytes with each field replaced where it stands, or put first when the message has none of that name.
func (m Message) With(fields ...Field) []byte {
	size := len(m.Raw)
	for _, f := range fields {
		size += len(f.Name) + len(f.Value) + 4
	}
	out := make([]byte, 0, size)
	at := 0
	for i, r := range m.Raw {
		if r == '{' {
			out, at = append(out, m.Raw[:i+1]...), i+1
			break
		}
	}
	for i, f := range fields {
		if m.Field(f.Name) != nil {
			continue
		}
		out = strconv.AppendQuote(out, f.Name)
		out = append(append(out, ':'), f.Value...)
		if len(m.members) > 0 || missing(m, fields[i+1:]) {
			out = append(out, ',')
		}
	}
	for _, old := range m.members {
		for _, f := range fields {
			if f.Name == old.name {
				out = append(append(out, m.Raw[at:old.from]...), f.Value...)
				at = old.to
				break
			}
		}
	}
	return append(out, m.Raw[at:]...)
}

func missing(m Message, fields []Field) bool {
	for _, f := range fields {
		if m.Field(f.Name) == nil {
			return true
		}
	}
	return false
}

func number(n int) json.RawMessage { return strconv.AppendInt(nil, int64(n), 10) }
