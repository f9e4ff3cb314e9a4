package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"podstep.dev/test/cluster/internal/cgroup"
	"podstep.dev/test/cluster/internal/node"
)

// run runs a cluster as long as a command, and returns the command's exit status.
func run(ctx context.Context, args []string) (status int, err error) {
	c, command, err := parseRun(args)
	if err != nil {
		return 0, err
	}
	if err := errors.Join(checkPrograms(c.Runc, c.CNI), checkRoot(), checkWatchers(len(c.Nodes))); err != nil {
		return 0, err
	}
	if _, err := c.Images(); err != nil {
		return 0, err
	}
	lock, err := claimState(c.State)
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	use, err := claimBin(c.Bin)
	if err != nil {
		return 0, err
	}
	defer use.Close()
	cl, err := start(c)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, cl.stop()) }()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := cl.wait(ctx); err != nil || ctx.Err() != nil {
		return 0, err
	}
	if len(command) == 0 {
		fmt.Fprintf(os.Stderr, "up: the cluster is there: export KUBECONFIG=%s\n", filepath.Join(c.State, "kubeconfig"))
		return 0, cl.idle(ctx)
	}
	return cl.serve(ctx, command)
}

func parseRun(args []string) (c *node.Config, command []string, err error) {
	c = &node.Config{}
	flags := flag.NewFlagSet("up run", flag.ContinueOnError)
	flags.StringVar(&c.State, "state", "", "directory for logs, keys and kubeconfig; emptied first")
	flags.StringVar(&c.Bin, "bin", "", "directory of the cluster's programs, as \"make cluster\" makes it")
	flags.StringVar(&c.Runc, "runc", debianRunc, "OCI runtime")
	flags.StringVar(&c.CNI, "cni", debianCNI, "directory of the network plugins")
	flags.StringVar(&c.ProxyMode, "proxy-mode", "nftables", "kube-proxy's mode: iptables or nftables")
	nodes := flags.Int("nodes", 1, "number of nodes")
	if err := flags.Parse(args); err != nil {
		return nil, nil, err
	}
	if c.State == "" || c.Bin == "" || *nodes < 1 || *nodes > 9 {
		return nil, nil, errors.New("run needs -state DIR and -bin DIR, and 1 to 9 nodes")
	}
	c.Nodes = node.Members(*nodes)
	for _, dir := range []*string{&c.State, &c.Bin} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return nil, nil, err
		}
	}
	if c.Bin, err = filepath.EvalSymlinks(c.Bin); err != nil {
		return nil, nil, fmt.Errorf("find the cluster's programs: %w", err)
	}
	if node.IsHidden(c.Bin) {
		return nil, nil, fmt.Errorf("%s cannot be seen from the nodes, which have a /run and /var/lib of their own", c.Bin)
	}
	return c, flags.Args(), nil
}

// A cluster is a running one. One goroutine waits for its first process, one reads its status lines; both end with it.
type cluster struct {
	config *node.Config
	init   *exec.Cmd
	ended  chan error    // gets one error when the cluster has ended
	ready  chan struct{} // closed when it can be used
	began  time.Time
}

// start starts the first node, which starts everything else. The API's door is a socket of this network namespace, at which a process
// of the node's accepts.
func start(c *node.Config) (*cluster, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open the door: %w", err)
	}
	defer l.Close()
	c.Door = l.Addr().String()
	door, err := l.(*net.TCPListener).File()
	if err != nil {
		return nil, fmt.Errorf("open the door: %w", err)
	}
	defer door.Close()
	said, status, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer status.Close()
	cl := &cluster{config: c, ended: make(chan error, 1), ready: make(chan struct{}), began: time.Now()}
	if cl.init, err = c.Start(0, status, door); err != nil {
		said.Close()
		return nil, errors.Join(err, cgroup.Remove(c.Nodes[0].Cgroups))
	}
	go cl.read(said)
	go func() {
		cl.ended <- fmt.Errorf("the cluster ended by itself: %w; see %s", cl.init.Wait(), filepath.Join(c.State, "logs"))
	}()
	return cl, nil
}

// read shows the status lines.
func (cl *cluster) read(said io.ReadCloser) {
	defer said.Close()
	for lines := bufio.NewScanner(said); lines.Scan(); {
		fmt.Fprintf(os.Stderr, "up: %5.1f s %s\n", time.Since(cl.began).Seconds(), lines.Text())
		if lines.Text() == node.Ready {
			close(cl.ready)
		}
	}
}

// wait waits until the cluster can be used.
func (cl *cluster) wait(ctx context.Context) error {
	select {
	case <-cl.ready:
		return nil
	case err := <-cl.ended:
		cl.ended <- err // for stop
		return err
	case <-ctx.Done():
		return nil
	}
}

// idle waits until somebody ends the cluster.
func (cl *cluster) idle(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-cl.ended:
		cl.ended <- err // for stop
		return err
	}
}

// serve runs a command for which the cluster was made.
func (cl *cluster) serve(ctx context.Context, command []string) (status int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(),
		"KUBECONFIG="+filepath.Join(cl.config.State, "kubeconfig"),
		"PODSTEP_E2E_LOAD="+self+" load -state "+cl.config.State,
		"PODSTEP_E2E_FAULT="+self+" fault -state "+cl.config.State,
		"PODSTEP_E2E_EXEC="+self+" exec -state "+cl.config.State)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the command: %w", err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its state says more
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may just have ended
		<-done
	case err := <-cl.ended:
		cl.ended <- err // for stop
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-done
		return 0, err
	}
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return 128 + int(s.Signal()), nil // as a shell has it
	}
	return cmd.ProcessState.ExitCode(), nil
}

// stop ends the cluster: the end of its first process takes everything in its PID namespace along.
func (cl *cluster) stop() error {
	_ = cl.init.Process.Kill() // it may have ended
	<-cl.ended
	return cgroup.Remove(cl.config.Nodes[0].Cgroups)
}
