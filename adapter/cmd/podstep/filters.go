package main

import (
	"fmt"
	"strings"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/filter"
)

// explained is the filter of one configuration in words, and what it says of a request.
type explained struct {
	// Name leads to the configuration, see config.NamedFilter.
	Name   string `json:"name,omitempty"`
	Filter string `json:"filter"`
	// Matches is nil when there is no request.
	Matches *bool `json:"matches,omitempty"`
	// Reasons are the conditions that decided.
	Reasons []filter.Reason `json:"reasons,omitempty"`

	mine bool
}

// explain says each filter in words, and whether it matches r, unless r is nil.
func explain(filters []config.NamedFilter, r *sampleRequest) []explained {
	var all []explained
	for _, named := range filters {
		e := explained{Name: named.Name, Filter: named.Filter.String(), mine: named.Filter.Mine}
		if r != nil {
			verdict, reasons := judge(named.Filter, r)
			matches := verdict == filter.Yes
			e.Matches, e.Reasons = &matches, reasons
		}
		all = append(all, e)
	}
	return all
}

// judge takes any key for that of the session, which has none yet.
func judge(f config.Filter, r *sampleRequest) (filter.Verdict, []filter.Reason) {
	if !f.Mine {
		return f.Declared.Explain(r.Request, r.body)
	}
	const anyKey = `{"baggage": {"podstep": {"regex": "[A-Za-z0-9]{1,64}"}}}`
	declared, err := filter.Parse([]byte(anyKey))
	if err != nil {
		panic("podstep: " + err.Error()) // it is a constant
	}
	verdict, reasons := declared.Explain(r.Request, r.body)
	for i := range reasons {
		reasons[i].Condition = f.String()
	}
	return verdict, reasons
}

// printFilters says what explain found, a line for the filter and one for the request.
func (p *podstep) printFilters(file string, all []explained, r *sampleRequest) error {
	if r != nil && len(all) == 0 {
		_, err := fmt.Fprintf(p.out, "%s: no filter to hold %s to\n", file, r.file)
		return err
	}
	for _, e := range all {
		name := first(e.Name, file)
		if _, err := fmt.Fprintf(p.out, "%s: filter: %s\n", name, e.Filter); err != nil {
			return err
		}
		if e.Matches == nil {
			continue
		}
		if _, err := fmt.Fprintf(p.out, "%s: %s %s\n", name, r.file, e.words()); err != nil {
			return err
		}
	}
	return nil
}

// words says whether the request matches, and why.
func (e explained) words() string {
	var why []string
	for _, reason := range e.Reasons {
		if *e.Matches {
			why = append(why, reason.Found)
		} else {
			why = append(why, fmt.Sprintf("%s is not met (%s)", reason.Condition, reason.Found))
		}
	}
	switch {
	case !*e.Matches:
		return "does not match: " + strings.Join(why, "; ")
	case e.mine:
		return "matches if this is the session's key: " + strings.Join(why, "; ")
	}
	return "matches: " + strings.Join(why, "; ")
}
