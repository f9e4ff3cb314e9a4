// Command report reads "go test -json" and says what a person wants to know: a line per package, the output of what failed, every
// skipped test with its reason, and how many there were. It exits with 1 when a test failed, a package did not build, or none ran.
//
//	go test -json ./... | report [-allow FILE] [-again N -- COMMAND...]
//
// With -allow a skipped test fails the run unless a line of FILE, "PACKAGE TEST REASON" with * for any characters, allows it:
// a machine that can run a test must not leave it out unnoticed.
//
// With -again at most N tests that failed are run once more, each alone, by COMMAND -run TEST PACKAGE. One that passes then is listed as
// what it is, a test that depends on what else the machine does, and does not fail the run. More failures than that are no accident.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	allow := flag.String("allow", "", "file with the tests that may be skipped; without it all may")
	again := flag.Int("again", 0, "how many tests that failed may be run once more, by the command that follows")
	flag.Parse()
	ok, err := run(os.Stdin, os.Stdout, *allow, second{*again, flag.Args()})
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// run reports what in says and tells whether all is well.
func run(in io.Reader, out io.Writer, allowFile string, again second) (ok bool, err error) {
	r := newReport(out)
	if allowFile != "" {
		if r.allowed, err = readAllowed(allowFile); err != nil {
			return false, err
		}
	}
	if err := r.read(in); err != nil {
		return false, err
	}
	r.again(again)
	return r.close(), nil
}

func newReport(out io.Writer) *report { return &report{out: out, tests: map[name]*test{}} }

// read takes events until there are no more.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			r.line(line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// event is what test2json prints; see "go doc test2json".
type event struct {
	Action, Package, ImportPath, Test, Output, FailedBuild string
	Elapsed                                                float64
}

func (r *report) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil || e.Action == "" {
		_, _ = r.out.Write(line) // not of go test: somebody's word on standard output
		return
	}
	r.event(e)
}

// readAllowed reads a file of skips that are allowed: blank lines and those that begin with # are left out.
func readAllowed(path string) ([]skip, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	allowed := []skip{} // not nil: a list that is empty allows nothing
	for n, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		fields := strings.SplitN(line, " ", 3)
		if len(fields) != 3 {
			return nil, fmt.Errorf("%s:%d: want PACKAGE TEST REASON", path, n+1)
		}
		allowed = append(allowed, skip{fields[0], fields[1], strings.TrimSpace(fields[2])})
	}
	return allowed, nil
}
