package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"podstep.dev/adapter/cluster"
	"podstep.dev/adapter/cluster/checkup"
	"podstep.dev/adapter/config"
	"podstep.dev/adapter/debugger"
	"podstep.dev/adapter/doctor"
)

// doctorFlags are the flags of doctor.
type doctorFlags struct {
	target, kubeconfig, context, namespace string
	agent, agentNamespace, image           string
}

func (p *podstep) doctorCommand() *cobra.Command {
	f := &doctorFlags{}
	cmd := &cobra.Command{
		Use:   "doctor [-n NAMESPACE] [--target TARGET]",
		Short: "Check this machine and the cluster, and say what to do",
		Long: `doctor checks what a session needs, on this machine and in the cluster, and says what to do where something is missing. What only
an administrator of the cluster can do is collected at the end, ready to be sent.

It changes nothing. With --target it also starts an agent beside that target, as a session without incoming traffic would, and
measures the link to it. The exit status is 1 when something fails.`,
		Example: `  podstep doctor
  podstep doctor -n shop
  podstep doctor -n shop --target deployment/web`,
		DisableFlagsInUseLine: true,
		Args:                  cobra.NoArgs,
		RunE:                  func(cmd *cobra.Command, _ []string) error { return p.doctor(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.namespace, "namespace", "n", "", "the targets' `namespace` (default: the context's)")
	flags.StringVar(&f.target, "target", "", "start an agent beside this `target` and measure the link: deployment/NAME or another workload")
	flags.StringVar(&f.context, "context", "", "the kubeconfig's `context` (default: the current one)")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "the kubeconfig `file` (default: as kubectl finds it)")
	flags.StringVar(&f.agent, "agent", config.AgentAuto, "how the agent gets beside the target: `auto|ephemeral|job`")
	flags.StringVar(&f.agentNamespace, "agent-namespace", "", "the `namespace` of the job agent's pod (default: the target's)")
	flags.StringVar(&f.image, "image", "", "the agent's `image` (default: this release's)")
	return cmd
}

// line is one check as -o json prints it.
type line struct {
	Group string `json:"group"`
	Check string `json:"check"`
	doctor.Finding
}

func (p *podstep) doctor(ctx context.Context, f *doctorFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	log, done, err := p.log()
	if err != nil {
		return err
	}
	defer done()
	visit := checkup.New(checkup.Options{
		Log: log, Kubeconfig: f.kubeconfig, Context: f.context, Namespace: f.namespace, Target: f.target,
		Agent: config.Agent{Kind: f.agent, Namespace: f.agentNamespace, Image: f.image},
		Image: cluster.Image(), Provider: cluster.Provider{Log: log, Holder: holder()},
	})
	defer visit.Close()
	lines := p.examine(ctx, append(doctor.Workstation(debuggers), visit.Checks()...))
	if p.output == "json" {
		err = p.printJSON(p.out, struct {
			Checks  []line   `json:"checks"`
			HandOff []string `json:"handOff,omitempty"`
		}{lines, handOff(lines)})
	} else {
		err = printHandOff(p.out, handOff(lines))
	}
	if err == nil && slices.ContainsFunc(lines, func(l line) bool { return l.State == doctor.Fail }) {
		return exitStatus(statusFault)
	}
	return err
}

func (f *doctorFlags) check() error {
	for flag, name := range map[string]string{"--namespace": f.namespace, "--agent-namespace": f.agentNamespace} {
		if name != "" && !isNamespace(name) {
			return usage("%s %s: this is no name of a namespace", flag, name)
		}
	}
	if !slices.Contains([]string{config.AgentAuto, config.AgentEphemeral, config.AgentJob}, f.agent) {
		return usage("--agent %s is none of auto, ephemeral, job", f.agent)
	}
	if f.target == "" {
		return nil
	}
	target, err := config.ParseTarget(f.target)
	if err != nil {
		return err
	}
	if !target.InCluster() || target.Kind == config.KindTargetless {
		return usage("--target %s: only a target in a cluster can be measured", f.target)
	}
	return nil
}

// examine runs the checks and prints each as it is known.
func (p *podstep) examine(ctx context.Context, checks []doctor.Check) []line {
	text := p.output == "text"
	var lines []line
	waiting := func(c doctor.Check) {
		if text {
			fmt.Fprintf(p.errs, "  ...  %s\n", c.Name)
		}
	}
	doctor.Run(ctx, checks, waiting, func(c doctor.Check, found doctor.Finding) {
		l := line{c.Group, c.Name, found}
		if text {
			p.printLine(l, lines)
		}
		lines = append(lines, l)
	})
	return lines
}

// printLine prints a check. What is skipped for the same reason as the one before is not said again.
func (p *podstep) printLine(l line, before []line) {
	var last line
	if len(before) > 0 {
		last = before[len(before)-1]
	}
	if l.Group != last.Group {
		fmt.Fprintln(p.out, l.Group)
	}
	if l.State == doctor.Skip && l.Finding == last.Finding {
		return
	}
	fmt.Fprintf(p.out, "%6s  %s: %s\n", l.State, l.Check, l.Found)
	for row := range strings.Lines(l.Do) {
		fmt.Fprintf(p.out, "        -> %s\n", strings.TrimSuffix(row, "\n"))
	}
}

// handOff collects what an administrator is to be asked for, each thing once.
func handOff(lines []line) []string {
	var asks []string
	for _, l := range lines {
		if l.Ask != "" && !slices.Contains(asks, l.Ask) {
			asks = append(asks, l.Ask)
		}
	}
	return asks
}

func printHandOff(w io.Writer, asks []string) error {
	if len(asks) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString("\nFor the cluster's administrator: to debug with podstep I need\n")
	for _, ask := range asks {
		fmt.Fprintf(&b, "- %s\n", ask)
	}
	b.WriteString("What each permission is for, and what the agent can and cannot do: docs/security.md\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// debuggers looks for those that podstep knows.
func debuggers(ctx context.Context) []doctor.Debugger {
	var all []doctor.Debugger
	for _, d := range debugger.Survey(ctx, os.Environ()) {
		all = append(all, doctor.Debugger(d))
	}
	return all
}
