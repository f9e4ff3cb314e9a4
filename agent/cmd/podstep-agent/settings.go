//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"podstep.dev/agent"
	"podstep.dev/agent/door"
)

// settings are the flags of resident.
type settings struct {
	container, name, socket, level string
	enter                          bool
	steal                          agent.Steal
	lifetime, unjoined             time.Duration
	// memoryLimit is the pod's in bytes; 0 when whoever started the agent knows none.
	memoryLimit int
}

// readSettings reads resident's arguments; what is wrong with them is written to words too.
func readSettings(args []string, words io.Writer) (s settings, err error) {
	flags := flag.NewFlagSet("podstep-agent resident", flag.ContinueOnError)
	flags.SetOutput(words)
	flags.StringVar(&s.container, "container", "", "`ID` of the target's container; without it this container itself is the target")
	flags.StringVar(&s.name, "name", "", "this container's own `name`, for others who find it here")
	flags.BoolVar(&s.enter, "enter", false, "enter the target's network and host name first")
	flags.Func("steal", "`policy` for steals: allow, filtered-only or deny (default allow)", func(text string) error {
		s.steal = agent.Steal(text)
		switch s.steal {
		case agent.StealAllow, agent.StealFilteredOnly, agent.StealDeny:
			return nil
		}
		return errors.New("no such policy")
	})
	flags.DurationVar(&s.lifetime, "lifetime", 24*time.Hour, "end everything after this time")
	flags.DurationVar(&s.unjoined, "unjoined", 30*time.Second, "end after this time without a link")
	flags.IntVar(&s.memoryLimit, "memory-limit", 0, "memory limit of the pod in `bytes`, where the agent cannot see it")
	flags.StringVar(&s.socket, "socket", door.Path, "`path` of the door")
	flags.StringVar(&s.level, "log", "info", "debug, info, warn or error")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 || s.enter && s.container == "" || s.lifetime <= 0 || s.unjoined <= 0 || s.memoryLimit < 0 {
		err = errors.New("podstep-agent resident: no arguments, --enter with --container only, times above zero, and no negative limit")
		_, _ = fmt.Fprintln(words, err)
	}
	return s, err
}
