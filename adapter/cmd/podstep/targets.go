package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"podstep.dev/adapter/cluster"
	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/cluster/workload"
	"podstep.dev/internal/filter"
	"podstep.dev/internal/wire"
)

// targetsFlags are the flags of targets.
type targetsFlags struct {
	kubeconfig, context, namespace string
	agentNamespace                 string
	all                            bool
}

func (p *podstep) targetsCommand() *cobra.Command {
	f := &targetsFlags{}
	cmd := &cobra.Command{
		Use:   "targets [-n NAMESPACE | -A]",
		Short: "List what can be borrowed in a cluster, and who is borrowing it",
		Long: `targets lists the workloads of a namespace that a session can borrow, as "target" names them: how many of their pods are ready,
the container that is borrowed unless another is named (the others follow it), the ports that they declare, how far their
requests may be stolen (annotation podstep.dev/steal), and the sessions that borrow them now.

What you may not list is left out and said at the end.`,
		Example: `  podstep targets
  podstep targets -n shop
  podstep targets -A -o json`,
		DisableFlagsInUseLine: true,
		Args:                  cobra.NoArgs,
		RunE:                  func(cmd *cobra.Command, _ []string) error { return p.targets(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.namespace, "namespace", "n", "", "the `namespace` (default: the context's)")
	flags.StringVar(&f.agentNamespace, "agent-namespace", "", "the `namespace` of job agents, if another (\"agent\": {\"namespace\": ...})")
	flags.BoolVarP(&f.all, "all-namespaces", "A", false, "list the targets of all namespaces")
	flags.StringVar(&f.context, "context", "", "the kubeconfig's `context` (default: the current one)")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "the kubeconfig `file` (default: as kubectl finds it)")
	cmd.MarkFlagsMutuallyExclusive("namespace", "all-namespaces")
	return cmd
}

func (p *podstep) targets(ctx context.Context, f *targetsFlags) error {
	if f.namespace != "" && !isNamespace(f.namespace) {
		return usage("--namespace %s: this is no name of a namespace", f.namespace)
	}
	if f.agentNamespace != "" && !isNamespace(f.agentNamespace) {
		return usage("--agent-namespace %s: this is no name of a namespace", f.agentNamespace)
	}
	log, done, err := p.log()
	if err != nil {
		return err
	}
	defer done()
	list, err := cluster.Targets(ctx, api.Options{Kubeconfig: f.kubeconfig, Context: f.context, Namespace: f.namespace, Log: log}, f.all, f.agentNamespace)
	if err != nil {
		return err
	}
	if p.output == "json" {
		return p.printJSON(p.out, list)
	}
	return p.printTargets(list, f.all, time.Now())
}

// printTargets prints the list as a table, and what is missing on standard error.
func (p *podstep) printTargets(list *workload.List, all bool, now time.Time) error {
	for _, missing := range list.Missing {
		fmt.Fprintf(p.errs, "podstep: not listed: %s\n", missing)
	}
	if len(list.Targets) == 0 {
		_, err := fmt.Fprintln(p.errs, "podstep: there is nothing to borrow here")
		return err
	}
	steal := slices.ContainsFunc(list.Targets, func(t workload.Listed) bool { return t.Steal != "" })
	borrowed := slices.ContainsFunc(list.Targets, func(t workload.Listed) bool { return t.Borrowed != nil })
	row := func(namespace, target, ready, status, containers, ports, stealing, borrowers string) string {
		cells := []string{target, ready, status, containers, ports}
		if all {
			cells = slices.Insert(cells, 0, namespace)
		}
		if steal {
			cells = append(cells, stealing)
		}
		if borrowed {
			cells = append(cells, borrowers)
		}
		return strings.TrimRight(strings.Join(cells, "\t"), "\t") + "\n"
	}
	table := tabwriter.NewWriter(p.out, 0, 0, 3, ' ', 0)
	fmt.Fprint(table, row("NAMESPACE", "TARGET", "READY", "STATUS", "CONTAINERS", "PORTS", "STEAL", "BORROWED BY"))
	for _, t := range list.Targets {
		var ports []string
		for _, port := range t.Ports {
			ports = append(ports, strconv.Itoa(int(port)))
		}
		who := append(borrowers(t.Borrowed, now), "-")
		fmt.Fprint(table, row(t.Namespace, t.Target, fmt.Sprintf("%d/%d", t.Ready, t.Pods), t.Status, dash(t.Containers, ","), dash(ports, ","),
			cmp.Or(string(t.Steal), "-"), who[0]))
		for _, other := range who[1:max(1, len(who)-1)] {
			fmt.Fprint(table, row("", "", "", "", "", "", "", other))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	p.printAsk(list)
	return nil
}

// maxAsk is for how many targets the line is printed that asks for a port.
const maxAsk = 3

// printAsk says how those who steal are asked for their ports, on standard error. A session is named with the first of its targets alone.
func (p *podstep) printAsk(list *workload.List) {
	lines, known := 0, map[string]bool{}
	for _, t := range list.Targets {
		fresh, elsewhere := false, ""
		for _, b := range t.Borrowed {
			steals := slices.ContainsFunc(b.Subscriptions, func(s wire.SubscribeParams) bool { return s.Mode == wire.ModeSteal })
			fresh = fresh || steals && !known[b.Session.Session]
			known[b.Session.Session] = known[b.Session.Session] || steals
			if steals && b.Agent.Namespace != "" && b.Agent.Namespace != t.Namespace {
				elsewhere = " --agent-namespace " + b.Agent.Namespace
			}
		}
		if fresh && lines < maxAsk {
			lines++
			fmt.Fprintf(p.errs, "podstep: to ask for what is stolen: podstep ask -n %s%s %s\n", t.Namespace, elsewhere, t.Target)
		}
	}
}

func dash(words []string, between string) string { return cmp.Or(strings.Join(words, between), "-") }

// maxFilter is how many characters of a filter's words the table has. -o json has the filter whole.
const maxFilter = 40

// borrowers says each session once, on however many of the target's pods it is.
func borrowers(of []workload.Borrower, now time.Time) (words []string) {
	known := map[string]bool{}
	for _, b := range of {
		said := borrower(b, now)
		if key := cmp.Or(b.Session.Session, said); !known[key] {
			known[key] = true
			words = append(words, said)
		}
	}
	return words
}

// borrower says who borrows a pod, what of it, and whether they stand at a breakpoint.
func borrower(b workload.Borrower, now time.Time) string {
	if b.Unknown != "" {
		return "unknown (" + b.Unknown + ")"
	}
	words := b.Name
	for _, s := range b.Subscriptions {
		words += fmt.Sprintf(" %ss %d", s.Mode, s.Port)
		// One that this release cannot read is that of a later one.
		if f, err := filter.Parse(s.Filter); err == nil {
			words += " (" + shorten(f.String(), maxFilter) + ")"
		} else if s.Filter != nil {
			words += " (filtered)"
		}
	}
	words += " for " + short(now.Sub(b.Since))
	if b.Paused {
		words += ", paused for " + short(now.Sub(b.PausedSince))
	}
	return words
}

// short is a duration in its largest unit, as in kubectl's AGE.
func short(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
