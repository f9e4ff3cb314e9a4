package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"podstep.dev/adapter/listen"
	"podstep.dev/internal/fault"
)

func (p *podstep) dapCommand() *cobra.Command {
	address, debugger := "", ""
	cmd := &cobra.Command{
		Use:   "dap [--debugger NAME] [--listen 127.0.0.1:PORT]",
		Short: "Serve an editor as its debug adapter",
		Long: `dap speaks the Debug Adapter Protocol on standard input and output. With --listen it waits for editors on a loopback
port instead, admits only those of the same user, and ends when the last session has ended.

An editor asks what the debugger can do before it names the debugger in a launch configuration. With --debugger it hears at
once what that one can do; else what every debugger can, and the rest when the debugger has started.`,
		Example: `  podstep dap
  podstep dap --debugger dlv
  podstep dap --listen 127.0.0.1:0      (any free port; it is printed)`,
		DisableFlagsInUseLine: true,
		Args:                  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, done, err := p.log()
			if err != nil {
				return err
			}
			defer done()
			if address != "" {
				return p.listen(cmd.Context(), address, debugger, log)
			}
			editor, err := p.editor()
			if err != nil {
				return fault.New(fault.Internal, "cannot use standard input and output", err)
			}
			return p.sessions.dap(cmd.Context(), editor, debugger, log)
		},
	}
	cmd.Flags().StringVar(&address, "listen", "", "wait for editors on this loopback `address`; port 0 is any free one")
	cmd.Flags().StringVar(&debugger, "debugger", "", "the debugger when the launch configuration names none: `NAME`, or the type of a configuration of its own")
	return cmd
}

// listen serves editors on a loopback port and says on standard output which one it is, as editors wait for it.
func (p *podstep) listen(ctx context.Context, address, debugger string, log *zap.Logger) error {
	l, err := listen.Loopback(ctx, address)
	if err != nil {
		f := usage("--listen: %w", err)
		if errors.Is(err, listen.ErrNotLoopback) {
			f.Hint = "Use 127.0.0.1: whoever reaches a debug adapter's port can run code."
		}
		return f
	}
	if _, err := fmt.Fprintf(p.out, "DAP server listening at: %s\n", l.Addr()); err != nil {
		_ = l.Close()
		return fault.New(fault.Internal, "cannot say the port", err)
	}
	return listen.Serve(ctx, l, log, func(ctx context.Context, conn net.Conn) error { return p.sessions.dap(ctx, conn, debugger, log) })
}
