package main

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"podstep.dev/adapter/cluster"
	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/wire"
)

// maxRevoked is the longest time for which nobody may steal again. The annotation podstep.dev/steal is for what lasts.
const maxRevoked = 30 * 24 * time.Hour

type revokeFlags struct {
	thiefFlags
	reason string
	lasts  time.Duration
}

func (p *podstep) revokeCommand() *cobra.Command {
	f := &revokeFlags{}
	cmd := &cobra.Command{
		Use:   "revoke TARGET [--session NAME | --port PORT] [--for DURATION]",
		Short: "As an administrator, end other people's steals of a target",
		Long: `revoke writes the annotation podstep.dev/revoked at the target's pods, and waits until the sessions that it names have given all that they
steal back; their debuggers go on. It takes the permission to patch pods, which the Role of developers does not have: podstep rbac --admin.

With --for, who was revoked cannot begin to steal there again for that time; without --session and --port nobody can. It stands at the
pods: those that come later do not have it. What is to last belongs into the annotation podstep.dev/steal.`,
		Example: `  podstep revoke -n shop deployment/web --reason "load test"
  podstep revoke -n shop deployment/web --session alice@laptop --for 1h`,
		DisableFlagsInUseLine: true,
		Args:                  cobra.ExactArgs(1),
		RunE:                  func(cmd *cobra.Command, args []string) error { return p.revoke(cmd.Context(), f, args[0]) },
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.reason, "reason", "", "a `line` for those who lose their steals")
	cmd.Flags().DurationVar(&f.lasts, "for", 0, "keep them from stealing again for so long")
	return cmd
}

func (p *podstep) revoke(ctx context.Context, f *revokeFlags, word string) error {
	target, err := f.check(word)
	if err != nil {
		return err
	}
	switch {
	case len([]rune(f.reason)) > wire.MaxMessage:
		return usage("--reason has more than %d characters", wire.MaxMessage)
	case wire.Plain(f.reason, math.MaxInt) != strings.TrimSpace(f.reason):
		return usage("--reason is not one line of plain text")
	case f.lasts < 0 || f.lasts > maxRevoked:
		return usage("--for %s is not between 0 and %s", f.lasts, maxRevoked)
	}
	log, done, err := p.log()
	if err != nil {
		return err
	}
	defer done()
	thieves, err := cluster.Revoke(ctx, api.Options{Kubeconfig: f.kubeconfig, Context: f.context, Namespace: f.namespace, Log: log}, target, cluster.Revoking{
		Which: f.which(), By: holder(), Reason: strings.TrimSpace(f.reason), For: f.lasts,
	})
	if err != nil {
		return err
	}
	if p.output == "json" {
		return p.printJSON(p.out, map[string]any{"revoked": thieves})
	}
	for _, t := range thieves {
		fmt.Fprintf(p.out, "%s no longer steals %s of %s\n", t.Name, place.PortWords(t.Ports), target)
	}
	switch {
	case f.lasts == 0:
	case f.session != "" || f.port != 0:
		fmt.Fprintf(p.out, "nor can they again for %s\n", f.lasts)
	default:
		fmt.Fprintf(p.out, "nobody can steal from its pods for %s\n", f.lasts)
	}
	return nil
}
