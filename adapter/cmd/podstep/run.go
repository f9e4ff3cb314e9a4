package main

import (
	"context"
	"os/exec"

	"github.com/spf13/cobra"

	"podstep.dev/internal/fault"
)

// runFlags are the flags of run; what is not given stays as the file or the defaults have it.
type runFlags struct {
	target, file                         string
	kubeconfig, context, namespace       string
	agent, pods, linger                  string
	steal, mirror, local, env            []string
	filter                               string
	noDNS, noHostname, noOutgoing, noEnv bool
}

func (p *podstep) runCommand() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run --target TARGET [flags] -- COMMAND ARG...",
		Short: "Run a command in the target's place, without a debugger",
		Long: `run starts a command that stands in for the target: it gets the target's incoming requests (a copy, unless they are stolen),
its network, names and environment. Signals are passed on. The exit status is the command's, or 128+N when signal N ended it.`,
		Example: `  podstep run -n shop --target deployment/web --steal 80:8080 -- python3 server.py
  podstep run -n shop --target deployment/web --steal 80:8080 --filter '{"header": {"x-user": "alice"}}' -- ./shop
  podstep run -f mirror.json --no-dns -- ./shop
  podstep run -n shop --target targetless -- curl http://payments/
  podstep run --target process/4242 --mirror 80 -- ./shop`,
		DisableFlagsInUseLine: true,
		Args:                  cobra.ArbitraryArgs,
		RunE:                  func(cmd *cobra.Command, args []string) error { return p.run(cmd.Context(), f, args) },
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false)
	flags.StringVar(&f.target, "target", "", "the `target`: deployment/NAME or another workload, process/PID, or targetless")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "the target's `namespace` (default: the context's)")
	flags.StringVar(&f.context, "context", "", "the kubeconfig's `context` (default: the current one)")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "the kubeconfig `file` (default: as kubectl finds it)")
	flags.StringVar(&f.pods, "pods", "", "borrow `all|one` of the workload's pods (default all)")
	flags.StringVar(&f.agent, "agent", "", "how the agent gets beside the target: `auto|ephemeral|job` (default auto)")
	flags.StringVar(&f.linger, "linger", "", "`seconds` that an idle agent stays after the session (default 60)")
	flags.StringVarP(&f.file, "file", "f", "", "read the \"mirror\" block from this `file`; flags come on top of it")
	flags.StringArrayVar(&f.steal, "steal", nil, "let the command answer the target's `port[:local]`; local is the command's port if it differs")
	flags.StringArrayVar(&f.mirror, "mirror", nil, "give the command a copy of what comes to the target's `port[:local]`")
	flags.StringVar(&f.filter, "filter", "", "take only the HTTP requests of this filter, `JSON|mine` (see docs/configuration.md)")
	flags.StringArrayVar(&f.local, "local", nil, "reach this `destination` from this machine: address, prefix or :port")
	flags.StringArrayVar(&f.env, "env", nil, "set `NAME=VALUE` for the command")
	flags.BoolVar(&f.noDNS, "no-dns", false, "resolve names on this machine")
	flags.BoolVar(&f.noHostname, "no-hostname", false, "keep this machine's hostname")
	flags.BoolVar(&f.noOutgoing, "no-outgoing", false, "make connections from this machine")
	flags.BoolVar(&f.noEnv, "no-env", false, "take none of the target's environment variables")
	return cmd
}

func (p *podstep) run(ctx context.Context, f *runFlags, argv []string) error {
	if len(argv) == 0 {
		return fault.New(fault.BadUsage, "no command to run is given; it comes last, behind --", nil)
	}
	if _, err := exec.LookPath(argv[0]); err != nil {
		return usage("cannot run the command: %w", err)
	}
	m, err := p.block(f)
	if err != nil {
		return err
	}
	log, done, err := p.log()
	if err != nil {
		return err
	}
	defer done()
	status, err := p.sessions.run(ctx, m, argv, log)
	if err != nil {
		return err
	}
	if status != 0 {
		return exitStatus(status)
	}
	return nil
}
