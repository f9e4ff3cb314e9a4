// Package dapclient is a scripted editor: it speaks the debug adapter protocol to a program under test, remembers everything it hears, and
// lets a test wait for what it expects. It has its own framing, so that it is no mirror of the program's.
package dapclient

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

// Message is one message of the protocol.
type Message struct {
	Seq        int             `json:"seq"`
	Type       string          `json:"type"`
	Command    string          `json:"command,omitempty"`
	Event      string          `json:"event,omitempty"`
	RequestSeq int             `json:"request_seq,omitempty"`
	Success    bool            `json:"success,omitempty"`
	Text       string          `json:"message,omitempty"`
	Arguments  json.RawMessage `json:"arguments,omitempty"`
	Body       json.RawMessage `json:"body,omitempty"`
}

// Decode unmarshals the body (or the arguments of a request) into to.
func (m Message) Decode(to any) error {
	raw := m.Body
	if m.Type == "request" {
		raw = m.Arguments
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("decode %s%s: %w", m.Command, m.Event, err)
	}
	return nil
}

// Failure is the error of a request that failed.
type Failure struct {
	Command string
	ID      int
	Format  string
	Shown   bool
}

func (f *Failure) Error() string { return fmt.Sprintf("%s failed (%d): %s", f.Command, f.ID, f.Format) }

// Client is one connection. Its goroutine reads until the connection ends.
type Client struct {
	conn io.ReadWriteCloser
	done chan struct{}

	mu      sync.Mutex
	seq     int
	heard   []Message
	cursor  int
	err     error
	changed chan struct{}
	serve   map[string]func(Message) (any, error)
	writes  sync.Mutex
}

// New begins to read from conn. Close ends it.
func New(conn io.ReadWriteCloser) *Client {
	c := &Client{conn: conn, done: make(chan struct{}), changed: make(chan struct{}), serve: map[string]func(Message) (any, error){}}
	go c.read()
	return c
}

// Close closes the connection and waits for the reader.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	return err
}

// Handle answers the other end's requests of that command. Requests without a handler fail.
func (c *Client) Handle(command string, answer func(Message) (any, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serve[command] = answer
}

// Send sends a request and returns its number.
func (c *Client) Send(command string, arguments any) (int, error) {
	c.mu.Lock()
	c.seq++
	seq := c.seq
	c.mu.Unlock()
	request := map[string]any{"seq": seq, "type": "request", "command": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	return seq, c.write(request)
}

// Answer waits for the answer to the request seq. A failed one is a *Failure beside the message.
func (c *Client) Answer(ctx context.Context, seq int) (Message, error) {
	m, err := c.find(ctx, fmt.Sprintf("the answer to request %d", seq), func(m Message) bool { return m.Type == "response" && m.RequestSeq == seq })
	if err != nil || m.Success {
		return m, err
	}
	var body struct {
		Error struct {
			ID       int    `json:"id"`
			Format   string `json:"format"`
			ShowUser bool   `json:"showUser"`
		} `json:"error"`
	}
	_ = json.Unmarshal(m.Body, &body)
	f := &Failure{Command: m.Command, ID: body.Error.ID, Format: body.Error.Format, Shown: body.Error.ShowUser}
	if f.Format == "" {
		f.Format = m.Text
	}
	return m, f
}

// Request sends a request and waits for its answer.
func (c *Client) Request(ctx context.Context, command string, arguments any) (Message, error) {
	seq, err := c.Send(command, arguments)
	if err != nil {
		return Message{}, err
	}
	return c.Answer(ctx, seq)
}

// Event waits for the next event of that name. Each event is found once; those before it are passed over.
func (c *Client) Event(ctx context.Context, name string) (Message, error) {
	return c.next(ctx, "event "+name, func(m Message) bool { return m.Type == "event" && m.Event == name })
}

// Output waits until the outputs of all categories together contain text, and returns them.
func (c *Client) Output(ctx context.Context, text string) (string, error) {
	for {
		c.mu.Lock()
		all, changed, err := c.outputs(), c.changed, c.err
		c.mu.Unlock()
		switch {
		case strings.Contains(all, text):
			return all, nil
		case err != nil:
			return all, fmt.Errorf("wait for output %q: %w", text, err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return all, fmt.Errorf("wait for output %q in %q: %w", text, all, context.Cause(ctx))
		}
	}
}

// Outputs returns what was printed so far.
func (c *Client) Outputs() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outputs()
}

func (c *Client) outputs() string {
	var b strings.Builder
	for _, m := range c.heard {
		var body struct {
			Category string `json:"category"`
			Output   string `json:"output"`
		}
		if m.Event == "output" && json.Unmarshal(m.Body, &body) == nil && body.Category != "telemetry" {
			b.WriteString(body.Output)
		}
	}
	return b.String()
}

// Heard returns all messages so far.
func (c *Client) Heard() []Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Message(nil), c.heard...)
}

// Count returns how many events of that name were heard.
func (c *Client) Count(event string) int {
	n := 0
	for _, m := range c.Heard() {
		if m.Type == "event" && m.Event == event {
			n++
		}
	}
	return n
}

// find waits for a message anywhere.
func (c *Client) find(ctx context.Context, what string, want func(Message) bool) (Message, error) {
	return c.await(ctx, what, func() (Message, bool) {
		for _, m := range c.heard {
			if want(m) {
				return m, true
			}
		}
		return Message{}, false
	})
}

// next waits for a message behind the cursor, and moves it.
func (c *Client) next(ctx context.Context, what string, want func(Message) bool) (Message, error) {
	return c.await(ctx, what, func() (Message, bool) {
		for i, m := range c.heard[c.cursor:] {
			if want(m) {
				c.cursor += i + 1
				return m, true
			}
		}
		return Message{}, false
	})
}

func (c *Client) await(ctx context.Context, what string, look func() (Message, bool)) (Message, error) {
	for {
		c.mu.Lock()
		m, ok := look()
		changed, err := c.changed, c.err
		c.mu.Unlock()
		if ok {
			return m, nil
		}
		if err != nil {
			return m, fmt.Errorf("wait for %s: %w", what, err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return m, fmt.Errorf("wait for %s: %w; heard:\n%s", what, context.Cause(ctx), c.tail())
		}
	}
}

// tail describes the last messages.
func (c *Client) tail() string {
	heard := c.Heard()
	var b strings.Builder
	for _, m := range heard[max(0, len(heard)-12):] {
		fmt.Fprintf(&b, "  %s %s%s %.300s\n", m.Type, m.Command, m.Event, m.Body)
	}
	return b.String()
}

func (c *Client) read() {
	defer close(c.done)
	r := bufio.NewReader(c.conn)
	for {
		m, err := readMessage(r)
		c.mu.Lock()
		if err != nil {
			c.err = err
		} else {
			c.heard = append(c.heard, m)
		}
		close(c.changed)
		c.changed = make(chan struct{})
		answer := c.serve[m.Command]
		c.mu.Unlock()
		if err != nil {
			return
		}
		if m.Type == "request" {
			c.answer(m, answer)
		}
	}
}

func (c *Client) answer(m Message, answer func(Message) (any, error)) {
	response := map[string]any{"type": "response", "request_seq": m.Seq, "command": m.Command, "success": true}
	body, err := any(nil), errors.New("not supported by this editor")
	if answer != nil {
		body, err = answer(m)
	}
	if err != nil {
		response["success"], response["message"] = false, err.Error()
	} else if body != nil {
		response["body"] = body
	}
	c.mu.Lock()
	c.seq++
	response["seq"] = c.seq
	c.mu.Unlock()
	_ = c.write(response) // the reader meets the same broken connection
}

func (c *Client) write(message any) error {
	raw, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	c.writes.Lock()
	defer c.writes.Unlock()
	if _, err := fmt.Fprintf(c.conn, "Content-Length: %d\r\n\r\n%s", len(raw), raw); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func readMessage(r *bufio.Reader) (Message, error) {
	length := -1
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return Message{}, err
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			break
		}
		if value, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			if length, err = strconv.Atoi(value); err != nil {
				return Message{}, fmt.Errorf("header %q: %w", line, err)
			}
		}
	}
	if length < 0 {
		return Message{}, errors.New("a header without Content-Length")
	}
	raw := make([]byte, length)
	if _, err := io.ReadFull(r, raw); err != nil {
		return Message{}, err
	}
	var m Message
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("message %.200q: %w", raw, err)
	}
	return m, nil
}
