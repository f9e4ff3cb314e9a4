package main

import (
	"fmt"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/filter"
)

// explainedRule is a rule of one configuration in words, and what it says of a request.
type explainedRule struct {
	// Name leads to the configuration, see config.NamedFilter; Rule numbers its rules, from 1.
	Name  string `json:"name,omitempty"`
	Rule  int    `json:"rule"`
	Words string `json:"words"`
	// Matches is nil when there is no request, or a rule before matches it.
	Matches *bool `json:"matches,omitempty"`
	// Reasons are the conditions that decided.
	Reasons []filter.Reason `json:"reasons,omitempty"`
}

// explainRules says each rule in words, and which is for r, unless r is nil: the first one that matches.
func explainRules(lists []config.NamedRules, r *sampleRequest) []explainedRule {
	var all []explainedRule
	for _, named := range lists {
		found := false
		for i, rule := range named.Rules {
			e := explainedRule{Name: named.Name, Rule: i + 1, Words: rule.String()}
			if r != nil && !found {
				verdict, reasons := filter.Yes, []filter.Reason(nil)
				if !rule.Filter.IsZero() {
					verdict, reasons = rule.Filter.Declared.Explain(r.Request, r.body)
				}
				found = verdict == filter.Yes
				matches := found
				e.Matches, e.Reasons = &matches, reasons
			}
			all = append(all, e)
		}
	}
	return all
}

// printExplained says what explainRules found.
func (p *podstep) printExplained(file string, all []explainedRule, r *sampleRequest) error {
	for _, e := range all {
		name := first(e.Name, file)
		if _, err := fmt.Fprintf(p.out, "%s: rule %d: %s\n", name, e.Rule, e.Words); err != nil {
			return err
		}
		if e.Matches == nil {
			continue
		}
		words := explained{Matches: e.Matches, Reasons: e.Reasons}.words()
		if len(e.Reasons) == 0 {
			words = "matches: it is for every request"
		}
		if _, err := fmt.Fprintf(p.out, "%s: %s %s\n", name, r.file, words); err != nil {
			return err
		}
	}
	return nil
}
