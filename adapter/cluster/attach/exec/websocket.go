package exec

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"

	"github.com/gorilla/websocket"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	transport "k8s.io/client-go/transport/websocket"

	"podstep.dev/internal/logging"
)

// maxMessage is the most that one message carries, in bytes. The API server takes each fragment of a message for one, and
// client-go's connections fragment what is longer than their buffers (transport/websocket, DataBufferSize).
const maxMessage = 32 << 10

// socket is a program over WebSocket: each message begins with the number of its stream (remotecommand's constants). It
// has no goroutine: who reads the standard output takes care of the other streams.
type socket struct {
	conn  *websocket.Conn
	words *logging.Words

	// Of the reader.
	body   io.Reader // the rest of a message of standard output
	status []byte
	over   error

	mu sync.Mutex // one message at a time
}

func (d *Dialer) dialWebSocket(ctx context.Context, call Call, words *logging.Words) (pipe, error) {
	roundTripper, holder, err := transport.RoundTripperFor(d.Config)
	if err != nil {
		return nil, err
	}
	// The dialer keeps to a context's deadline, but goes on when it is cancelled.
	var hangUp func() bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		hangUp = context.AfterFunc(ctx, func() { _ = got.Conn.Close() })
	}})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url(call), nil)
	if err != nil {
		return nil, err
	}
	conn, err := transport.Negotiate(roundTripper, holder, req, remotecommand.StreamProtocolV5Name)
	if hangUp != nil && !hangUp() {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &socket{conn: conn, words: words}, nil
}

func (s *socket) Read(b []byte) (int, error) {
	for s.over == nil {
		if s.body == nil {
			s.over = s.next()
			continue
		}
		n, err := s.body.Read(b)
		if errors.Is(err, io.EOF) {
			s.body, err = nil, nil
		}
		if err != nil {
			s.over = s.end(err)
		}
		if n > 0 || len(b) == 0 {
			return n, nil
		}
	}
	return 0, s.over
}

// next takes messages up to one of standard output.
func (s *socket) next() error {
	_, message, err := s.conn.NextReader()
	if err != nil {
		return s.end(err)
	}
	var stream [1]byte
	if _, err := io.ReadFull(message, stream[:]); err != nil {
		return s.end(err)
	}
	switch stream[0] {
	case remotecommand.StreamStdOut:
		s.body = message
	case remotecommand.StreamStdErr:
		_, err = io.Copy(s.words, message)
	case remotecommand.StreamErr:
		s.status, err = io.ReadAll(io.LimitReader(message, maxStatus))
	}
	if err != nil {
		return s.end(err)
	}
	return nil
}

func (s *socket) end(err error) error {
	if websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		err = nil
	}
	return verdict(s.status, s.words.Tail(), err)
}

func (s *socket) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	written := 0
	for len(b) > 0 {
		part := b[:min(len(b), maxMessage)]
		if err := s.send(part); err != nil {
			return written, err
		}
		written += len(part)
		b = b[len(part):]
	}
	return written, nil
}

// send writes one message.
func (s *socket) send(b []byte) error {
	w, err := s.conn.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte{remotecommand.StreamStdIn}); err != nil {
		return err
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	return w.Close()
}

// Close hangs up, which ends the program's streams.
func (s *socket) Close() error { return s.conn.Close() }
