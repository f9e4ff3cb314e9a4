package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
)

// maxFile bounds what is read of a file: config refuses a shorter one already.
const maxFile = 8 << 20

func (p *podstep) checkCommand() *cobra.Command {
	var request string
	cmd := &cobra.Command{
		Use:   "check [--request FILE] FILE",
		Short: "Say what is wrong with a launch.json or a \"mirror\" block",
		Long: `check reads a launch.json, or a file that is one configuration or one "mirror" block, and prints everything that is wrong
with it, each with its line and column. Of a launch.json it looks at the configurations of type podstep and at those that have a "mirror" block.
It says every filter of requests and every rule in words; with --request also whether it matches the request in that file, as it is sent or
written by hand, and which conditions decide. FILE may be - for standard input. The exit status is 1 when there is a problem, not when a request does not match.`,
		Example: `  podstep check .vscode/launch.json
  podstep check --request request.http .vscode/launch.json
  podstep check -o json mirror.json`,
		DisableFlagsInUseLine: true,
		Args:                  cobra.ExactArgs(1),
		RunE:                  func(_ *cobra.Command, args []string) error { return p.check(args[0], request) },
	}
	cmd.Flags().StringVar(&request, "request", "", "say whether filters match the HTTP/1 request in this `file`")
	return cmd
}

// check reads path; requestPath is empty when no request is given.
func (p *podstep) check(path, requestPath string) error {
	text, err := p.read(path)
	if err != nil {
		return err
	}
	var request *sampleRequest
	if requestPath != "" {
		if request, err = p.readRequest(requestPath); err != nil {
			return err
		}
	}
	report := config.Check(text)
	filters := explain(report.Filters, request)
	rules := explainRules(report.Rules, request)
	if p.output == "json" {
		err = p.printJSON(p.out, struct {
			File string `json:"file"`
			config.Report
			Filters []explained     `json:"filters,omitempty"`
			Rules   []explainedRule `json:"rules,omitempty"`
		}{path, report, filters, rules})
	} else if err = p.printReport(path, report); err == nil {
		if len(filters) > 0 || len(rules) == 0 {
			err = p.printFilters(path, filters, request)
		}
		err = errors.Join(err, p.printExplained(path, rules, request))
	}
	if err == nil && len(report.Problems) > 0 {
		return exitStatus(statusFault)
	}
	return err
}

// printReport prints problems as compilers do, so that editors can jump to them.
func (p *podstep) printReport(path string, report config.Report) error {
	for _, problem := range report.Problems {
		if _, err := fmt.Fprintf(p.out, "%s:%s\n", path, problem); err != nil {
			return err
		}
	}
	summary := ""
	switch {
	case len(report.Problems) > 0:
		summary = fmt.Sprintf("%s [podstep-%d]", count(len(report.Problems), "problem"), fault.BadConfig)
	case report.Blocks == 0:
		summary = path + `: nothing to check: no configuration is of type podstep or has a "mirror" block`
	default:
		summary = fmt.Sprintf("%s: %s, no problems", path, count(report.Blocks, "configuration"))
	}
	_, err := fmt.Fprintln(p.out, summary)
	return err
}

// read returns a file's text, or standard input's for "-".
func (p *podstep) read(path string) ([]byte, error) {
	if path == "-" {
		text, err := io.ReadAll(io.LimitReader(p.in, maxFile))
		if err != nil {
			return nil, fault.New(fault.BadFile, "cannot read standard input", err)
		}
		return text, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.New(fault.BadFile, "cannot read the file", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fault.New(fault.BadFile, "cannot read the file", err)
	}
	return text, nil
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
