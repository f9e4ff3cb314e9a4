package main

import (
	"github.com/spf13/cobra"

	"podstep.dev/internal/fault"
)

func (p *podstep) dapCommand() *cobra.Command {
	listen := ""
	cmd := &cobra.Command{
		Use:   "dap [--listen 127.0.0.1:PORT]",
		Short: "Serve an editor as its debug adapter",
		Long: `dap speaks the Debug Adapter Protocol on standard input and output. With --listen it waits for editors on a loopback
port instead, admits only those of the same user, and ends when the last session has ended.`,
		Example: `  podstep dap
  podstep dap --listen 127.0.0.1:0      any free port; it is printed`,
		DisableFlagsInUseLine: true,
		Args:                  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, done, err := p.log()
			if err != nil {
				return err
			}
			defer done()
			if p.sessions.dap == nil {
				return fault.New(fault.NotLinux, "podstep cannot debug on this machine", nil)
			}
			return p.sessions.dap(cmd.Context(), nil, log)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "wait for editors on this loopback `address` instead of standard input and output")
	return cmd
}
