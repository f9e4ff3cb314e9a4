package node

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// A part is one program of a node. Its goroutine waits for it to end, starts it again when that was asked for, and otherwise ends the
// node: a test must not go on with half a cluster.
type part struct {
	node *Node
	name string
	args []string
	log  *os.File
	// ready tells whether it can be used, by an error when not. Nil: it can be used when it runs.
	ready func() error

	turn     sync.Mutex // one restart at a time
	restarts chan restart
	mu       sync.Mutex
	process  *os.Process
}

// restart asks a part's goroutine to start it again after a pause, once it has ended.
type restart struct {
	pause time.Duration
	done  chan error
}

// grace is how long a part has to end by itself, as a service manager gives it, before it is killed.
const grace = 5 * time.Second

// start starts one of kubebox's programs. Its output goes to the state directory's logs.
func (n *Node) start(name string, ready func() error, args ...string) error {
	file := name + ".log"
	if n.Me > 0 {
		file = n.me().Name + "-" + file
	}
	log, err := os.OpenFile(filepath.Join(n.State, "logs", file), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	p := &part{node: n, name: name, args: args, log: log, ready: ready, restarts: make(chan restart, 1)}
	cmd, err := p.start()
	if err != nil {
		return err
	}
	n.addPart(p)
	go p.watch(cmd)
	return nil
}

func (p *part) start() (*exec.Cmd, error) {
	cmd := exec.Command(filepath.Join(p.node.Bin, "kubebox"), append([]string{p.name}, p.args...)...)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + p.node.Bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process = cmd.Process
	return cmd, nil
}

// watch is the part's goroutine: it ends with the node.
func (p *part) watch(cmd *exec.Cmd) {
	for {
		err := cmd.Wait()
		select {
		case r := <-p.restarts:
			select {
			case <-time.After(r.pause):
			case <-p.node.ctx.Done():
				return
			}
			cmd, err = p.start()
			r.done <- err
			if err == nil {
				continue
			}
		default:
			err = fmt.Errorf("%s of %s ended by itself: %v; see %s", p.name, p.node.me().Name, cmd.ProcessState, p.log.Name())
		}
		p.node.end(err)
		return
	}
}

// restart ends a part of the node and starts it again after pause; it returns when the part can be used.
func (n *Node) restart(ctx context.Context, name string, pause time.Duration) error {
	p, err := n.part(name)
	if err != nil {
		return err
	}
	p.turn.Lock()
	defer p.turn.Unlock()
	r := restart{pause: pause, done: make(chan error, 1)}
	p.restarts <- r
	if err := p.stop(); err != nil {
		return fmt.Errorf("stop %s: %w", name, err)
	}
	kill := time.AfterFunc(grace, p.kill)
	defer kill.Stop()
	select {
	case err = <-r.done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil || p.ready == nil {
		return err
	}
	return until(ctx.Done(), time.Minute, p.ready)
}

func (p *part) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.process.Signal(syscall.SIGTERM)
}

// kill ends a part that did not end by itself: its restart has not been taken then.
func (p *part) kill() {
	if len(p.restarts) == 1 {
		p.mu.Lock()
		defer p.mu.Unlock()
		_ = p.process.Kill() // it may just have ended
	}
}
