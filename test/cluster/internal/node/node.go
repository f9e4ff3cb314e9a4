package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"podstep.dev/test/cluster/internal/door"
	"podstep.dev/test/cluster/internal/pki"
)

// Ready is the status line that tells that a cluster can be used.
const Ready = "ready"

// A Node is the main process of a node. It has a goroutine for each part (see part), one for each further node, one that serves the
// control socket, and on the first node the door's; they end with the process.
type Node struct {
	*Config
	ctx context.Context
	end context.CancelCauseFunc // ends the node, and says why

	door *door.Door // the first node's

	mu     sync.Mutex
	status *os.File
	parts  []*part
}

// Run brings node c.Me up and runs it until one of its parts ends, which it returns as an error.
func Run(ctx context.Context, c *Config) error {
	n := &Node{Config: c, status: os.NewFile(statusFile, "status")}
	n.ctx, n.end = context.WithCancelCause(ctx)
	if err := n.bringUp(); err != nil {
		if cause := context.Cause(n.ctx); cause != nil {
			err = cause
		}
		n.say("%s failed: %v", n.me().Name, err)
		return err
	}
	<-n.ctx.Done()
	n.say("%v", context.Cause(n.ctx))
	return context.Cause(n.ctx)
}

func (n *Node) bringUp() error {
	if err := n.network(); err != nil {
		return err
	}
	if err := n.serveControl(); err != nil {
		return err
	}
	if n.Me > 0 {
		return n.join()
	}
	if err := n.openDoor(); err != nil {
		return err
	}
	if err := n.controlPlane(); err != nil {
		return err
	}
	n.say(Ready)
	return nil
}

// join is what a node without the control plane does.
func (n *Node) join() error {
	if err := n.runtime(); err != nil {
		return err
	}
	return n.agents()
}

// openDoor lets connections from outside in to the API server.
func (n *Node) openDoor() error {
	file := os.NewFile(doorFile, "door")
	l, err := net.FileListener(file)
	if err != nil {
		return fmt.Errorf("open the door: %w", err)
	}
	file.Close()
	n.door = &door.Door{Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(n.me().IP, apiPort))
	}}
	go func() { n.end(n.door.Run(n.ctx, l)) }()
	return nil
}

// say writes a status line.
func (n *Node) say(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(io.Writer(n.status), format+"\n", args...)
}

func (n *Node) addPart(p *part) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.parts = append(n.parts, p)
}

// part finds a part by its name.
func (n *Node) part(name string) (*part, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var names []string
	for _, p := range n.parts {
		if p.name == name {
			return p, nil
		}
		names = append(names, p.name)
	}
	slices.Sort(names)
	return nil, fmt.Errorf("%s runs no %q: it runs %v", n.me().Name, name, names)
}

// patience is how long one step of coming up may take on a busy machine.
const patience = 2 * time.Minute

// keys are the files of the authority that the first node made.
func (n *Node) keys() *pki.Authority { return pki.At(n.State + "/pki") }
