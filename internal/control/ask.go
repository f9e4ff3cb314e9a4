package control

import (
	"context"

	"podstep.dev/internal/wire"
)

// Ask asks another session of the agent to give a port back, and returns when it has answered or the time to do so is over.
func (c *Client) Ask(ctx context.Context, p wire.AskParams) (wire.AskResult, error) {
	return call[wire.AskResult](ctx, c, wire.MethodAsk, p)
}

// Answer answers one that asks.
func (c *Client) Answer(ctx context.Context, p wire.AnswerParams) error {
	_, err := call[struct{}](ctx, c, wire.MethodAnswer, p)
	return err
}

// Asked tells the adapter that its session is asked.
func (s *Server) Asked(ctx context.Context, p wire.AskedParams) error {
	return s.conn.Notify(ctx, wire.NoticeAsked, p)
}
