package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"podstep.dev/internal/program"
	"podstep.dev/internal/wire"
)

func (p *podstep) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			protocol := fmt.Sprintf("%d.%d", wire.Major, wire.Minor)
			if p.output == "json" {
				return p.printJSON(p.out, map[string]string{
					"version": program.Version(), "protocol": protocol, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
				})
			}
			_, err := fmt.Fprintf(p.out, "podstep %s (protocol %s, %s, %s/%s)\n", program.Version(), protocol, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
