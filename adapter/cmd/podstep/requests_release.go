package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/borrow/requests/local"
	"podstep.dev/internal/fault"
)

// releaseCommands are those that let a request go on that a rule holds.
func (p *podstep) releaseCommands(f *requestsFlags) []*cobra.Command {
	command := func(action, short, long string) (*cobra.Command, *requests.Release) {
		how := &requests.Release{Action: action}
		return &cobra.Command{
			Use: action + " ID", Short: short, Long: long, Args: cobra.ExactArgs(1), DisableFlagsInUseLine: true,
			RunE: func(cmd *cobra.Command, args []string) error {
				return p.releaseRequest(cmd.Context(), f, args[0], *how)
			},
		}, how
	}
	deliver, _ := command("deliver", "Let the program have a request that a rule holds", "deliver gives a held request to the session's program, whether the debugger is stopped or not.")
	target, _ := command("target", "Let the target have a request that a rule holds", "target gives a held request to the target, as if the session was not there.")
	failing, how := command("fail", "Answer a request that a rule holds with a failure", "fail answers a held request itself; neither the program nor the target gets it.")
	failing.Use = "fail ID [--status STATUS] [--body TEXT]"
	failing.Flags().IntVar(&how.Status, "status", 503, "the `status`, from 400 to 599")
	failing.Flags().StringVar(&how.Body, "body", "", "the body: `text` or JSON (default: who answered)")
	return []*cobra.Command{deliver, target, failing}
}

func (p *podstep) releaseRequest(ctx context.Context, f *requestsFlags, word string, how requests.Release) error {
	return f.withRequest(ctx, word, func(c *local.Client, id uint64) error {
		if err := c.Release(ctx, id, how); err != nil {
			return fault.Or(err, fault.NotHeld, fmt.Sprintf("cannot release request %d", id))
		}
		return nil
	})
}
