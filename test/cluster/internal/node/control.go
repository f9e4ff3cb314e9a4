package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"
)

// controlSocket is where a node takes requests: in a directory that nobody but root reaches from outside.
const controlSocket = "/run/podstep-test.sock"

// A Request asks a running node for a fault.
type Request struct {
	Verb Verb
	// Part is the program to restart: kube-apiserver, kubelet, containerd...
	Part string
	// For is how long the fault lasts: Restart's pause, Freeze's and Cut's end.
	For time.Duration
}

// Verb is what a Request asks for.
type Verb string

const (
	// Restart ends a part as a service manager does, by SIGTERM and after 5 s by SIGKILL, and starts it again. Done: it is ready.
	Restart Verb = "restart"
	// Freeze, Cut, Lose and Restore are the door's. Done: it is so, and ends by itself.
	Freeze  Verb = "freeze"
	Cut     Verb = "cut"
	Lose    Verb = "lose"
	Restore Verb = "restore"
)

// Ask asks the node that c is of, from outside, and waits for the answer.
func Ask(ctx context.Context, c *Config, r Request) error {
	root, err := c.Root()
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", filepath.Join(root, controlSocket))
	if err != nil {
		return fmt.Errorf("ask %s: %w", c.me().Name, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return fmt.Errorf("ask %s: %w", c.me().Name, err)
	}
	var refusal string
	if err := json.NewDecoder(conn).Decode(&refusal); err != nil {
		return fmt.Errorf("%s does not answer: %w", c.me().Name, err)
	}
	if refusal != "" {
		return fmt.Errorf("%s: %s", c.me().Name, refusal)
	}
	return nil
}

// serveControl starts to take requests, each with a goroutine of its own.
func (n *Node) serveControl() error {
	l, err := net.Listen("unix", controlSocket)
	if err != nil {
		return fmt.Errorf("take requests: %w", err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				n.end(fmt.Errorf("take requests: %w", err))
				return
			}
			go n.answer(conn)
		}
	}()
	return nil
}

// answer answers a request by the text of an error; empty: it is done.
func (n *Node) answer(conn net.Conn) {
	defer conn.Close()
	var r Request
	if err := json.NewDecoder(conn).Decode(&r); err != nil {
		return // nobody is there who could be told
	}
	answer := ""
	if err := n.do(r); err != nil {
		answer = err.Error()
	}
	_ = json.NewEncoder(conn).Encode(answer) // who asked may be gone
}

func (n *Node) do(r Request) error {
	switch {
	case r.Verb == Restart:
		return n.restart(n.ctx, r.Part, r.For)
	case n.door == nil:
		return errors.New("the door is the first node's")
	case r.Verb == Freeze:
		n.door.Freeze(r.For)
	case r.Verb == Cut:
		n.door.Cut(r.For)
	case r.Verb == Lose:
		n.door.Lose()
	case r.Verb == Restore:
		n.door.Restore()
	default:
		return fmt.Errorf("unknown request %q", r.Verb)
	}
	return nil
}
