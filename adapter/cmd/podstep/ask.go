package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"podstep.dev/adapter/cluster"
	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/wire"
)

// Exit statuses of ask beside those of every command.
const (
	statusKept     = 3
	statusNoAnswer = 4
)

// thiefFlags choose sessions that steal from a target of a cluster.
type thiefFlags struct {
	kubeconfig, context, namespace string
	agentNamespace, session        string
	port                           uint16
}

func (f *thiefFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.namespace, "namespace", "n", "", "the target's `namespace` (default: the context's)")
	flags.StringVar(&f.context, "context", "", "the kubeconfig's `context` (default: the current one)")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "the kubeconfig `file` (default: as kubectl finds it)")
	flags.StringVar(&f.agentNamespace, "agent-namespace", "", "the `namespace` of job agents, if another (\"agent\": {\"namespace\": ...})")
	flags.StringVar(&f.session, "session", "", "only the session of this `name`, as podstep targets shows it, or of this id")
	flags.Uint16Var(&f.port, "port", 0, "only this stolen `port`")
}

func (f *thiefFlags) which() cluster.Which {
	return cluster.Which{Session: f.session, Port: f.port, AgentNamespace: f.agentNamespace}
}

// check reads the target, before anything is touched.
func (f *thiefFlags) check(target string) (config.Target, error) {
	t, err := config.ParseTarget(target)
	switch {
	case err != nil:
		return t, usage("%s", fault.As(err).Summary())
	case t.Kind == config.KindProcess || t.Kind == config.KindTargetless:
		return t, usage("%s is no target of a cluster: other people's sessions are only there", t)
	case f.namespace != "" && !isNamespace(f.namespace):
		return t, usage("--namespace %s: this is no name of a namespace", f.namespace)
	case f.agentNamespace != "" && !isNamespace(f.agentNamespace):
		return t, usage("--agent-namespace %s: this is no name of a namespace", f.agentNamespace)
	}
	return t, nil
}

type askFlags struct {
	thiefFlags
	message string
	wait    time.Duration
}

func (p *podstep) askCommand() *cobra.Command {
	f := &askFlags{}
	cmd := &cobra.Command{
		Use:   "ask TARGET [--port PORT | --session NAME]",
		Short: "Ask whoever steals a target's requests to give a port back",
		Long: `ask shows the person who steals requests of the target a question: in the editor, or where podstep run runs. It forces nobody: they
release the port, keep it, or do not answer. Who may exec into the agent's container may ask; the name that they see is this user's and machine's.

The exit status is 0 when the port was released, 3 when it is kept, 4 when nobody answered.`,
		Example: `  podstep ask -n shop deployment/web --port 80
  podstep ask -n shop deployment/web --session alice --message "load test at 3, back by 4"`,
		DisableFlagsInUseLine: true,
		Args:                  cobra.ExactArgs(1),
		RunE:                  func(cmd *cobra.Command, args []string) error { return p.ask(cmd.Context(), f, args[0]) },
	}
	f.add(cmd)
	cmd.Flags().StringVarP(&f.message, "message", "m", "", fmt.Sprintf("a `line` for that person, at most %d characters", wire.MaxMessage))
	cmd.Flags().DurationVar(&f.wait, "wait", wire.DefaultWait*time.Second, "how long to wait for the answer")
	return cmd
}

func (p *podstep) ask(ctx context.Context, f *askFlags, word string) error {
	target, err := f.check(word)
	if err != nil {
		return err
	}
	switch n := len([]rune(f.message)); {
	case n > wire.MaxMessage:
		return usage("--message has %d characters, more than %d", n, wire.MaxMessage)
	case wire.Plain(f.message, math.MaxInt) != strings.TrimSpace(f.message):
		return usage("--message is not one line of plain text")
	case f.wait < time.Second || f.wait > wire.MaxWait*time.Second:
		return usage("--wait %s is not between 1s and %ds", f.wait, wire.MaxWait)
	}
	log, done, err := p.log()
	if err != nil {
		return err
	}
	defer done()
	told := func(t *cluster.Thief) {
		fmt.Fprintf(p.errs, "podstep: asking %s; waiting %s\n", t, f.wait)
	}
	options := api.Options{Kubeconfig: f.kubeconfig, Context: f.context, Namespace: f.namespace, Log: log}
	thief, reply, err := cluster.Ask(ctx, options, target, f.which(), cluster.Question{Name: holder(), Message: f.message, Wait: f.wait, Told: told})
	if errors.Is(err, context.Canceled) {
		return exitStatus(statusInterrupted)
	}
	if err != nil {
		return err
	}
	return p.printReply(thief, reply, f.port, target)
}

// printReply says what the answer is, and makes it the exit status.
func (p *podstep) printReply(thief *cluster.Thief, reply wire.Reply, port uint16, target config.Target) error {
	ports := thief.Ports
	if port != 0 {
		ports = []uint16{port}
	}
	if p.output == "json" {
		if err := p.printJSON(p.out, map[string]any{"reply": reply, "name": thief.Name, "session": thief.Session.Session, "ports": ports}); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(p.out, replyWords(thief, reply, fmt.Sprintf("%s of %s", place.PortWords(ports), target)))
	}
	switch reply {
	case wire.ReplyReleased, wire.ReplyEnded:
		return nil
	case wire.ReplyKept:
		return exitStatus(statusKept)
	case wire.ReplyNone:
	}
	return exitStatus(statusNoAnswer)
}

func replyWords(thief *cluster.Thief, reply wire.Reply, what string) string {
	switch reply {
	case wire.ReplyReleased:
		return fmt.Sprintf("%s released %s", thief.Name, what)
	case wire.ReplyEnded:
		return fmt.Sprintf("%s is free: the session of %s has ended", what, thief.Name)
	case wire.ReplyKept:
		return fmt.Sprintf("%s keeps %s", thief.Name, what)
	case wire.ReplyNone:
	}
	return fmt.Sprintf("%s did not answer, and still has %s", thief.Name, what)
}
