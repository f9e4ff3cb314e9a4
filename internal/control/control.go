// Package control is wire's control methods as typed calls: JSON-RPC 2.0 over one stream. It holds no state of a session.
package control

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/sourcegraph/jsonrpc2"
	"go.uber.org/zap"

	"podstep.dev/internal/wire"
)

// Agent is what an agent does for one session. Refusals are returned as *wire.Refusal. Calls may run at once.
type Agent interface {
	Describe(context.Context, wire.DescribeParams) (wire.Description, error)
	Subscribe(context.Context, wire.SubscribeParams) (wire.Subscription, error)
	Unsubscribe(context.Context, wire.UnsubscribeParams) error
	Paused(context.Context, wire.PausedParams) error
	Patience(context.Context, wire.PatienceParams) error
	Leave(context.Context, wire.LeaveParams) error
	Sessions(context.Context) (wire.Sessions, error)
	Ask(context.Context, wire.AskParams) (wire.AskResult, error)
	Answer(context.Context, wire.AnswerParams) error
}

// Adapter hears an agent's notices, in order, on the link's own goroutine: it must not block.
type Adapter interface {
	Ended(wire.EndedParams)
	Lost(wire.LostParams)
	Closed(wire.ClosedParams)
	Unread(wire.UnreadParams)
	Asked(wire.AskedParams)
}

// Client calls an agent. A method that an older agent does not know is refused: ENOTSUP, wire.ReasonUnsupported.
type Client struct{ conn *jsonrpc2.Conn }

// NewClient speaks to the agent over stream, which it owns, and passes notices to adapter, which may be nil.
func NewClient(ctx context.Context, stream io.ReadWriteCloser, adapter Adapter, log *zap.Logger) *Client {
	handler := handlerFunc(func(_ context.Context, _ *jsonrpc2.Conn, r *jsonrpc2.Request) {
		if adapter == nil || r.Params == nil {
			return
		}
		switch r.Method {
		case wire.NoticeEnded:
			notice(*r.Params, adapter.Ended)
		case wire.NoticeLost:
			notice(*r.Params, adapter.Lost)
		case wire.NoticeClosed:
			notice(*r.Params, adapter.Closed)
		case wire.NoticeUnread:
			notice(*r.Params, adapter.Unread)
		case wire.NoticeAsked:
			notice(*r.Params, adapter.Asked)
		}
	})
	return &Client{conn: newConn(ctx, stream, handler, log)}
}

func notice[T any](params json.RawMessage, deliver func(T)) {
	var v T
	if json.Unmarshal(params, &v) == nil {
		deliver(v)
	}
}

// Describe asks what a process in the target sees.
func (c *Client) Describe(ctx context.Context, p wire.DescribeParams) (wire.Description, error) {
	return call[wire.Description](ctx, c, wire.MethodDescribe, p)
}

// Subscribe asks for the traffic of a port. A refusal is a *wire.Refusal.
func (c *Client) Subscribe(ctx context.Context, p wire.SubscribeParams) (wire.Subscription, error) {
	return call[wire.Subscription](ctx, c, wire.MethodSubscribe, p)
}

// Unsubscribe ends a subscription.
func (c *Client) Unsubscribe(ctx context.Context, p wire.UnsubscribeParams) error {
	_, err := call[struct{}](ctx, c, wire.MethodUnsubscribe, p)
	return err
}

// Paused tells the agent whether the session's debugger is stopped.
func (c *Client) Paused(ctx context.Context, p wire.PausedParams) error {
	_, err := call[struct{}](ctx, c, wire.MethodPaused, p)
	return err
}

// Patience tells the agent how long the adapter may take from now on.
func (c *Client) Patience(ctx context.Context, p wire.PatienceParams) error {
	_, err := call[struct{}](ctx, c, wire.MethodPatience, p)
	return err
}

// Leave is the farewell: the link is about to end because the session is over.
func (c *Client) Leave(ctx context.Context, p wire.LeaveParams) error {
	_, err := call[struct{}](ctx, c, wire.MethodLeave, p)
	return err
}

// Sessions lists the agent's sessions.
func (c *Client) Sessions(ctx context.Context) (wire.Sessions, error) {
	return call[wire.Sessions](ctx, c, wire.MethodSessions, struct{}{})
}

// Close ends the conversation and closes the stream.
func (c *Client) Close() error { return c.conn.Close() }

func call[R any](ctx context.Context, c *Client, method string, params any) (R, error) {
	var result R
	err := c.conn.Call(ctx, method, params, &result)
	var rpc *jsonrpc2.Error
	if errors.As(err, &rpc) {
		if refusal := refusalOf(rpc, method); refusal != nil {
			return result, refusal
		}
	}
	if err != nil {
		return result, fmt.Errorf("%s: %w", method, err)
	}
	return result, nil
}

// refusalOf returns the refusal that an error of the agent stands for, nil when it is another error.
func refusalOf(rpc *jsonrpc2.Error, method string) *wire.Refusal {
	var refusal wire.Refusal
	switch {
	case rpc.Code == jsonrpc2.CodeMethodNotFound:
		return &wire.Refusal{Errno: syscall.ENOTSUP, Reason: wire.ReasonUnsupported, Text: method + ": the agent does not know it"}
	case rpc.Code == codeRefusal && rpc.Data != nil && json.Unmarshal(*rpc.Data, &refusal) == nil:
		return &refusal
	}
	return nil
}

// codeRefusal marks an error whose data is a wire.Refusal.
const codeRefusal = 1

// Server answers one session's calls.
type Server struct{ conn *jsonrpc2.Conn }

// NewServer answers calls that come over stream, which it owns, each call in a goroutine of its own.
func NewServer(ctx context.Context, stream io.ReadWriteCloser, agent Agent, log *zap.Logger) *Server {
	handler := jsonrpc2.AsyncHandler(jsonrpc2.HandlerWithError(func(ctx context.Context, _ *jsonrpc2.Conn, r *jsonrpc2.Request) (any, error) {
		switch r.Method {
		case wire.MethodDescribe:
			return answer(ctx, r, agent.Describe)
		case wire.MethodSubscribe:
			return answer(ctx, r, agent.Subscribe)
		case wire.MethodUnsubscribe:
			return answer(ctx, r, done(agent.Unsubscribe))
		case wire.MethodPaused:
			return answer(ctx, r, done(agent.Paused))
		case wire.MethodPatience:
			return answer(ctx, r, done(agent.Patience))
		case wire.MethodLeave:
			return answer(ctx, r, done(agent.Leave))
		case wire.MethodSessions:
			return answer(ctx, r, func(ctx context.Context, _ struct{}) (wire.Sessions, error) { return agent.Sessions(ctx) })
		case wire.MethodAsk:
			return answer(ctx, r, agent.Ask)
		case wire.MethodAnswer:
			return answer(ctx, r, done(agent.Answer))
		}
		return nil, &jsonrpc2.Error{Code: jsonrpc2.CodeMethodNotFound, Message: r.Method}
	}))
	return &Server{conn: newConn(ctx, stream, handler, log)}
}

// done gives a call without a result an empty one.
func done[P any](do func(context.Context, P) error) func(context.Context, P) (struct{}, error) {
	return func(ctx context.Context, p P) (struct{}, error) { return struct{}{}, do(ctx, p) }
}

func answer[P, R any](ctx context.Context, r *jsonrpc2.Request, do func(context.Context, P) (R, error)) (any, error) {
	var params P
	if r.Params != nil {
		if err := json.Unmarshal(*r.Params, &params); err != nil {
			return nil, &jsonrpc2.Error{Code: jsonrpc2.CodeInvalidParams, Message: err.Error()}
		}
	}
	result, err := do(ctx, params)
	var refusal *wire.Refusal
	if errors.As(err, &refusal) {
		rpc := &jsonrpc2.Error{Code: codeRefusal, Message: refusal.Error()}
		rpc.SetError(refusal)
		return nil, rpc
	}
	return result, err
}

// Ended tells the adapter that a subscription ended by itself.
func (s *Server) Ended(ctx context.Context, p wire.EndedParams) error {
	return s.conn.Notify(ctx, wire.NoticeEnded, p)
}

// Lost tells the adapter what a mirror could not deliver.
func (s *Server) Lost(ctx context.Context, p wire.LostParams) error {
	return s.conn.Notify(ctx, wire.NoticeLost, p)
}

// Closed tells the adapter that a client's connection is over.
func (s *Server) Closed(ctx context.Context, p wire.ClosedParams) error {
	return s.conn.Notify(ctx, wire.NoticeClosed, p)
}

// Unread tells the adapter what a filter could not look into.
func (s *Server) Unread(ctx context.Context, p wire.UnreadParams) error {
	return s.conn.Notify(ctx, wire.NoticeUnread, p)
}

// Done is closed when the conversation is over.
func (s *Server) Done() <-chan struct{} { return s.conn.DisconnectNotify() }

// Close ends the conversation and closes the stream.
func (s *Server) Close() error { return s.conn.Close() }

type handlerFunc func(context.Context, *jsonrpc2.Conn, *jsonrpc2.Request)

func (f handlerFunc) Handle(ctx context.Context, c *jsonrpc2.Conn, r *jsonrpc2.Request) { f(ctx, c, r) }

func newConn(ctx context.Context, stream io.ReadWriteCloser, h jsonrpc2.Handler, log *zap.Logger) *jsonrpc2.Conn {
	if log == nil {
		log = zap.NewNop()
	}
	return jsonrpc2.NewConn(ctx, jsonrpc2.NewBufferedStream(stream, codec{}), h, jsonrpc2.SetLogger(rpcLog{log.Named("control").Sugar()}))
}

type rpcLog struct{ log *zap.SugaredLogger }

// Printf logs a line. jsonrpc2 ends its own, which would make two of ours.
func (l rpcLog) Printf(format string, v ...any) { l.log.Debugf(strings.TrimSuffix(format, "\n"), v...) }

// codec frames messages by four bytes of length, big endian: jsonrpc2's own codecs have no limit.
type codec struct{}

func (codec) WriteObject(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > wire.MaxControl {
		return fmt.Errorf("control message of %d bytes: %w", len(body), wire.ErrFrame)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}

func (codec) ReadObject(r *bufio.Reader, v any) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > wire.MaxControl {
		return fmt.Errorf("control message of %d bytes: %w", n, wire.ErrFrame)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}
