package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"podstep.dev/test/cluster/internal/node"
)

// parse reads the flags that the commands for a running cluster have in common.
func parse(command string, args []string) (c *node.Config, rest []string, err error) {
	flags := flag.NewFlagSet("up "+command, flag.ContinueOnError)
	state := flags.String("state", "", "the cluster's state directory")
	name := flags.String("node", "node1", "node; \"load\" takes all")
	if err := flags.Parse(args); err != nil {
		return nil, nil, err
	}
	if flags.NArg() == 0 {
		return nil, nil, fmt.Errorf("%s needs something to do; see \"go doc ./test/cluster/up\"", command)
	}
	c, err = node.Read(*state, *name)
	return c, flags.Args(), err
}

// load gives every node the images of archives.
func load(args []string) error {
	c, archives, err := parse("load", args)
	if err != nil {
		return err
	}
	for _, archive := range archives {
		if archive, err = filepath.Abs(archive); err != nil {
			return err
		}
		for _, m := range c.Nodes {
			if err := loadOne(c.State, m.Name, archive); err != nil {
				return fmt.Errorf("load %s into %s: %w", archive, m.Name, err)
			}
		}
	}
	return nil
}

// loadOne hands the archive over as standard input: the node may not see the file.
func loadOne(state, name, archive string) error {
	c, err := node.Read(state, name)
	if err != nil {
		return err
	}
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	command, err := c.Enter(c.Import("-")...)
	if err != nil {
		return err
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin = file
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// enter becomes a command inside a node.
func enter(args []string) error {
	c, args, err := parse("exec", args)
	if err != nil {
		return err
	}
	command, err := c.Enter(args...)
	if err != nil {
		return err
	}
	program, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	return syscall.Exec(program, command, append(os.Environ(), "CONTAINERD_ADDRESS=/run/containerd/containerd.sock"))
}

// fault asks a node for a fault.
func fault(ctx context.Context, args []string) error {
	c, args, err := parse("fault", args)
	if err != nil {
		return err
	}
	r, err := parseFault(args)
	if err != nil {
		return err
	}
	return node.Ask(ctx, c, r)
}

// parseFault reads "restart PART [PAUSE]", "freeze TIME", "cut TIME", "lose" or "restore".
func parseFault(args []string) (node.Request, error) {
	r := node.Request{Verb: node.Verb(args[0])}
	args = args[1:]
	limit := ""
	switch {
	case r.Verb == node.Restart && (len(args) == 1 || len(args) == 2):
		r.Part = args[0]
		if len(args) == 2 {
			limit = args[1]
		}
	case (r.Verb == node.Freeze || r.Verb == node.Cut) && len(args) == 1:
		limit = args[0]
	case (r.Verb == node.Lose || r.Verb == node.Restore) && len(args) == 0:
	default:
		return r, errors.New("a fault is one of: restart PART [PAUSE], freeze TIME, cut TIME, lose, restore")
	}
	if limit == "" {
		return r, nil
	}
	var err error
	r.For, err = time.ParseDuration(limit)
	if err == nil && (r.For < 0 || r.For > time.Hour) {
		err = fmt.Errorf("%v is not between 0 and 1 h", r.For)
	}
	return r, err
}
