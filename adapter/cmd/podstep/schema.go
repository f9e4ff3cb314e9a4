package main

import (
	"github.com/spf13/cobra"

	"podstep.dev/adapter/config"
)

func (p *podstep) schemaCommand() *cobra.Command {
	packageJSON := false
	cmd := &cobra.Command{
		Use:   "schema [--package-json]",
		Short: "Print the JSON schema of the \"mirror\" block",
		Long: `schema prints the JSON schema of the "mirror" block. With --package-json it prints a debugger's "configurationAttributes" as
an editor's extension contributes them.`,
		DisableFlagsInUseLine: true,
		Args:                  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text := config.Schema()
			if packageJSON {
				text = config.Attributes()
			}
			_, err := p.out.Write(text)
			return err
		},
	}
	cmd.Flags().BoolVar(&packageJSON, "package-json", false, "print the attributes for an extension's package.json")
	return cmd
}
