package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/borrow/requests/local"
	"podstep.dev/internal/fault"
)

// sessionRules are one session's, as -o json prints them.
type sessionRules struct {
	Session local.Session   `json:"session"`
	Rules   []requests.Rule `json:"rules"`
}

func (p *podstep) rulesCommand() *cobra.Command {
	f := &requestsFlags{}
	cmd := &cobra.Command{
		Use:   "rules [--session SESSION] [add RULE | set FILE | clear]",
		Short: "Show and change what your sessions do with requests: break, fail, delay",
		Long: `rules lists the rules of the sessions of this user on this machine, and how many requests each was for. The first rule that matches a
request counts. A rule is an object as "incoming.rules" has it, see docs/configuration.md.`,
		Example: `  podstep rules
  podstep rules add '{"action": "break", "filter": {"path": {"prefix": "/orders/"}}, "times": 1}'
  podstep rules add '{"action": "fail", "status": 500, "filter": {"method": "POST"}}'
  podstep rules add '{"action": "delay", "delay": "2s"}'
  podstep rules set rules.json
  podstep rules clear`,
		DisableFlagsInUseLine: true,
		Args:                  cobra.NoArgs,
		RunE:                  func(cmd *cobra.Command, _ []string) error { return p.listRules(cmd.Context(), f) },
	}
	cmd.PersistentFlags().StringVar(&f.session, "session", "", "only the `session` of this name, or of this target (default all)")
	add := &cobra.Command{
		Use: "add RULE", Short: "Put a rule before the others", Args: cobra.ExactArgs(1), DisableFlagsInUseLine: true,
		Long: `add puts a rule, an object in JSON, before the session's others.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.changeRules(cmd.Context(), f, func(c *local.Client) error { return c.AddRule(cmd.Context(), args[0]) })
		},
	}
	set := &cobra.Command{
		Use: "set FILE", Short: "Replace all rules by those in a file", Args: cobra.ExactArgs(1), DisableFlagsInUseLine: true,
		Long: `set replaces the session's rules by the list of rules in FILE, which may be - for standard input.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := p.read(args[0])
			if err != nil {
				return err
			}
			return p.changeRules(cmd.Context(), f, func(c *local.Client) error { return c.SetRules(cmd.Context(), string(text)) })
		},
	}
	none := &cobra.Command{
		Use: "clear", Short: "Remove all rules", Args: cobra.NoArgs, DisableFlagsInUseLine: true,
		Long: `clear removes all rules of the session. Requests that are held stay so until they are released.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.changeRules(cmd.Context(), f, func(c *local.Client) error { return c.SetRules(cmd.Context(), "[]") })
		},
	}
	for _, c := range []*cobra.Command{add, set, none} {
		c.RunE = faulty(c.RunE)
		cmd.AddCommand(c)
	}
	return cmd
}

// changeRules changes those of the one session that is meant, and shows them.
func (p *podstep) changeRules(ctx context.Context, f *requestsFlags, change func(*local.Client) error) error {
	all, err := f.sessions(ctx)
	if err != nil {
		return err
	}
	defer closeAll(all)
	if len(all) > 1 {
		return usage("several sessions run; choose one with --session: %s", strings.Join(names(all), ", "))
	}
	err = change(all[0])
	var problem *local.Problem
	switch {
	case errors.As(err, &problem):
		return usage("%w", err)
	case err != nil:
		return fault.Or(err, fault.NoSession, "the session of "+all[0].About.Target+" did not answer")
	}
	return p.printRules(ctx, all)
}

func (p *podstep) listRules(ctx context.Context, f *requestsFlags) error {
	all, err := f.sessions(ctx)
	if err != nil {
		return err
	}
	defer closeAll(all)
	return p.printRules(ctx, all)
}

func (p *podstep) printRules(ctx context.Context, all []*local.Client) error {
	lists := []sessionRules{}
	for _, c := range all {
		rules, err := c.Rules(ctx)
		if err != nil {
			return fault.Or(err, fault.NoSession, "the session of "+c.About.Target+" did not answer")
		}
		lists = append(lists, sessionRules{c.About, rules})
	}
	if p.output == "json" {
		return p.printJSON(p.out, lists)
	}
	table, printed := tabwriter.NewWriter(p.out, 0, 0, 3, ' ', 0), 0
	for _, l := range lists {
		for i, r := range l.Rules {
			if printed++; printed == 1 {
				printRow(table, len(all) > 1, "\t", "SESSION", []string{"RULE", "MET", "WHAT"})
			}
			printRow(table, len(all) > 1, "\t", l.Session.ID, []string{fmt.Sprint(i + 1), fmt.Sprint(r.Met), r.Words})
		}
	}
	if printed == 0 {
		_, err := fmt.Fprintln(p.errs, "podstep: there are no rules")
		return err
	}
	return table.Flush()
}
