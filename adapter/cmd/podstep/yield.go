package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"podstep.dev/adapter/borrow/requests/local"
	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/fault"
)

type yieldFlags struct {
	session string
	ports   []uint
	keep    bool
}

func (p *podstep) yieldCommand() *cobra.Command {
	f := &yieldFlags{}
	cmd := &cobra.Command{
		Use:   "yield [--port PORT...] [--session SESSION] | yield --keep",
		Short: "Give stolen ports back while the session goes on, or say no to who asks",
		Long: `yield gives the ports that a session of this user on this machine steals back to the target: it answers them again, at all its pods.
The program and the debugger go on, with what they have already, and with the target's network, names and environment. Who asked for
the ports (podstep ask) is told. With --keep nothing is given back, and who asked is told that.`,
		Example: `  podstep yield
  podstep yield --port 80
  podstep yield --keep`,
		DisableFlagsInUseLine: true,
		Args:                  cobra.NoArgs,
		RunE:                  func(cmd *cobra.Command, _ []string) error { return p.yield(cmd.Context(), f) },
	}
	cmd.Flags().StringVar(&f.session, "session", "", "the `session` of this name, or of this target, if there are several")
	cmd.Flags().UintSliceVar(&f.ports, "port", nil, "only this stolen `port` of the target")
	cmd.Flags().BoolVar(&f.keep, "keep", false, "say no to all who ask")
	cmd.MarkFlagsMutuallyExclusive("keep", "port")
	return cmd
}

func (p *podstep) yield(ctx context.Context, f *yieldFlags) error {
	var ports []uint16
	for _, port := range f.ports {
		if port == 0 || port > 65535 {
			return usage("--port %d is no port", port)
		}
		ports = append(ports, uint16(port))
	}
	c, done, err := f.thief(ctx)
	if err != nil {
		return err
	}
	defer done()
	if f.keep {
		n, err := c.Keep(ctx)
		if err != nil {
			return fault.Or(err, fault.NoSession, "the session does not answer")
		}
		return p.printYield(map[string]int{"questions": n}, fmt.Sprintf("said no to %d who asked for ports of %s", n, c.About.Target))
	}
	given, err := c.Yield(ctx, ports)
	if err != nil {
		return &fault.Fault{ID: fault.NobodySteals, What: "nothing was released", Err: err, Hint: "See: podstep targets"}
	}
	return p.printYield(map[string]any{"ports": given, "target": c.About.Target}, fmt.Sprintf("released %s of %s", place.PortWords(given), c.About.Target))
}

func (p *podstep) printYield(body any, line string) error {
	if p.output == "json" {
		return p.printJSON(p.out, body)
	}
	_, err := fmt.Fprintln(p.out, line)
	return err
}

// thief is the one session of this machine that is meant. The caller calls done.
func (f *yieldFlags) thief(ctx context.Context) (c *local.Client, done func(), err error) {
	all, err := (&requestsFlags{session: f.session}).sessions(ctx)
	if err != nil {
		return nil, nil, err
	}
	done = func() { closeAll(all) }
	stealing := slices.DeleteFunc(slices.Clone(all), func(c *local.Client) bool { return c.About.Mode != config.ModeSteal })
	if len(stealing) == 1 {
		return stealing[0], done, nil
	}
	defer done()
	if len(stealing) == 0 {
		return nil, nil, fault.New(fault.NoSession, "no session of yours on this machine steals anything", nil)
	}
	var names []string
	for _, c := range stealing {
		names = append(names, fmt.Sprintf("%s (%s)", c.About.ID, c.About.Target))
	}
	return nil, nil, usage("several sessions steal; choose one with --session: %s", strings.Join(names, ", "))
}
