package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// second says that at most so many tests are run again, and by which command.
type second struct {
	most    int
	command []string
}

// again runs what failed once more, if that is little enough to be an accident.
func (r *report) again(s second) {
	tops := r.tops()
	if len(tops) == 0 || len(tops) > s.most || len(s.command) == 0 {
		return
	}
	for _, top := range tops {
		r.print(fmt.Sprintf("\nagain, alone: %s %s\n", short(top.pkg), top.test))
		if !r.passes(top, s.command) {
			continue
		}
		isOf := func(f failure) bool { return f.pkg == top.pkg && topOf(f.test) == top.test }
		for _, f := range r.failures {
			if isOf(f) {
				r.failed--
				r.passed++
				r.second = append(r.second, f)
			}
		}
		r.failures = slices.DeleteFunc(r.failures, isOf)
	}
}

// tops are the tests that failed, without their subtests; none if anything else failed.
func (r *report) tops() (tops []name) {
	for _, f := range r.failures {
		if f.note != "" || f.test == "" {
			return nil
		}
		if top := (name{f.pkg, topOf(f.test)}); !slices.Contains(tops, top) {
			tops = append(tops, top)
		}
	}
	return tops
}

func topOf(test string) string {
	top, _, _ := strings.Cut(test, "/")
	return top
}

// passes runs one test.
func (r *report) passes(n name, command []string) bool {
	argv := append(slices.Clone(command), "-run", "^"+n.test+"$", n.pkg)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return false
	}
	alone := newReport(r.out)
	readErr := alone.read(out)
	return cmd.Wait() == nil && readErr == nil && len(alone.failures) == 0 && alone.passed > 0
}
