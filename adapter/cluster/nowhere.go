package cluster

import (
	"context"
	"io"

	"podstep.dev/adapter/place"
)

// nowhere is the target of a session without one: a place of its own in a namespace.
type nowhere struct{ target *target }

var (
	_ place.Target = (*nowhere)(nil)
	_ place.Place  = (*nowhere)(nil)
)

// Places sends the one place there is.
func (n *nowhere) Places(ctx context.Context) <-chan []place.Place {
	places := make(chan []place.Place, 1)
	places <- []place.Place{n}
	context.AfterFunc(ctx, func() { close(places) })
	return places
}

// Err : the place does not go.
func (n *nowhere) Err() error { return nil }

// Close removes the agent's job, if nobody uses it.
func (n *nowhere) Close() error { return n.target.Close() }

// ID is that of a namespace.
func (n *nowhere) ID() string { return n.String() }

// String names the namespace.
func (n *nowhere) String() string { return "namespace/" + n.target.cluster.Namespace }

// Lasting : another agent is started when one is lost.
func (n *nowhere) Lasting() bool { return true }

// Incoming : there is none.
func (n *nowhere) Incoming() place.Incoming { return place.Incoming{} }

// Attach gets a link to an agent in the namespace.
func (n *nowhere) Attach(ctx context.Context) (io.ReadWriteCloser, error) {
	link, err := n.target.attacher.AttachTargetless(ctx, n.target.cluster.Namespace)
	if err != nil {
		return nil, err
	}
	return link, nil
}
