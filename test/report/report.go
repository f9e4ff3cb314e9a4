package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// name is a test of a package; the package as a whole has no test name.
type name struct{ pkg, test string }

// test is what a running test has said so far.
type test struct{ output []string }

// skip is a skipped test, or a pattern of ones that may be.
type skip struct{ pkg, test, reason string }

// failure is what failed: a test, or with note something that no test of that name can be asked about again.
type failure struct{ pkg, test, note string }

func (f failure) String() string {
	return strings.Join(strings.Fields(short(f.pkg)+" "+f.test+" "+f.note), " ")
}

// report counts as events come and prints a package when it is over.
type report struct {
	out     io.Writer
	allowed []skip // nil: all skips are allowed

	tests    map[name]*test
	skips    []skip
	failures []failure
	// second are tests that failed, and did not when they were run again.
	second                  []failure
	passed, failed, skipped int
}

func (r *report) event(e event) {
	n := name{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		r.print(e.Output)
	case "build-fail":
		r.failures = append(r.failures, failure{note: e.ImportPath + " does not build"})
	case "output":
		r.of(n).output = append(r.of(n).output, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.packageEnds(n, e)
			return
		}
		r.testEnds(n, e.Action)
	}
}

func (r *report) of(n name) *test {
	if r.tests[n] == nil {
		r.tests[n] = &test{}
	}
	return r.tests[n]
}

// testEnds counts a test. Subtests count as go test -v counts them: each by itself.
func (r *report) testEnds(n name, action string) {
	t := r.of(n)
	switch action {
	case "pass":
		r.passed++
	case "fail":
		r.failed++
		r.failures = append(r.failures, failure{pkg: n.pkg, test: n.test})
		r.print(strings.Join(t.output, ""))
	case "skip":
		r.skipped++
		r.skips = append(r.skips, skip{short(n.pkg), n.test, reasonOf(t.output)})
	}
	delete(r.tests, n)
}

// packageEnds prints the package's line. What tests said that never ended is shown: a panic or a timeout is in there.
func (r *report) packageEnds(n name, e event) {
	own := r.of(n)
	if e.Action == "fail" {
		before := len(r.failures)
		for other, t := range r.tests {
			if other.pkg == n.pkg && other.test != "" {
				r.failed++
				r.failures = append(r.failures, failure{n.pkg, other.test, "(did not end)"})
				r.print(strings.Join(t.output, ""))
			}
		}
		r.print(strings.Join(own.output, ""))
		if e.FailedBuild == "" && len(r.failures) == before && !r.hasFailed(n.pkg) {
			r.failures = append(r.failures, failure{pkg: n.pkg})
		}
	} else if e.Action == "pass" {
		r.print(fmt.Sprintf("ok    %-40s %6.1f s\n", short(n.pkg), e.Elapsed))
	}
	for other := range r.tests {
		if other.pkg == n.pkg {
			delete(r.tests, other)
		}
	}
}

// hasFailed tells whether a test of pkg is among the failures already.
func (r *report) hasFailed(pkg string) bool {
	return slices.ContainsFunc(r.failures, func(f failure) bool { return f.pkg == pkg && f.test != "" })
}

// close prints what was skipped and what failed, and the counts last.
func (r *report) close() (ok bool) {
	notAllowed := 0
	if len(r.skips) > 0 {
		r.print("\nskipped:\n")
	}
	for _, s := range r.skips {
		note := ""
		if !r.allows(s) {
			notAllowed++
			note = "   <- may not be skipped here"
		}
		r.print(fmt.Sprintf("  %s %s: %s%s\n", s.pkg, s.test, s.reason, note))
	}
	r.list("passed only when they were run again, alone; mend them", r.second)
	r.list("failed", r.failures)
	if r.passed+r.failed == 0 {
		r.print("no test ran\n")
	}
	failed := max(r.failed, min(1, len(r.failures))) + notAllowed
	r.print(fmt.Sprintf("\n%d passed, %d failed, %d skipped\n", r.passed, failed, r.skipped-notAllowed))
	return failed == 0 && r.passed > 0
}

func (r *report) list(what string, failures []failure) {
	if len(failures) > 0 {
		r.print("\n" + what + ":\n")
	}
	for _, f := range failures {
		r.print("  " + f.String() + "\n")
	}
}

func (r *report) allows(s skip) bool {
	if r.allowed == nil {
		return true
	}
	for _, a := range r.allowed {
		if match(a.pkg, s.pkg) && match(a.test, s.test) && match(a.reason, s.reason) {
			return true
		}
	}
	return false
}

// print writes text; nobody could be told that it did not work.
func (r *report) print(text string) { _, _ = io.WriteString(r.out, text) }

// match matches with a pattern in which * stands for any characters.
func match(pattern, s string) bool {
	quoted := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`)
	return regexp.MustCompile("(?s)^" + quoted + "$").MatchString(s)
}

var skipLine = regexp.MustCompile(`^\s+\S+\.go:\d+: `)

// reasonOf finds what Skip said: the last line with a place in front, and what follows it.
func reasonOf(output []string) string {
	reason := ""
	for _, line := range output {
		switch {
		case skipLine.MatchString(line):
			reason = strings.TrimSpace(skipLine.ReplaceAllString(line, ""))
		case reason != "" && strings.HasPrefix(line, "        "):
			reason += " " + strings.TrimSpace(line)
		}
	}
	if reason == "" {
		return "no reason given"
	}
	return reason
}

func short(pkg string) string { return strings.TrimPrefix(pkg, "podstep.dev/") }
