package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const events = `{"Action":"start","Package":"podstep.dev/a"}
{"Action":"run","Package":"podstep.dev/a","Test":"TestGood"}
{"Action":"output","Package":"podstep.dev/a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"pass","Package":"podstep.dev/a","Test":"TestGood"}
{"Action":"run","Package":"podstep.dev/a","Test":"TestRoot"}
{"Action":"output","Package":"podstep.dev/a","Test":"TestRoot","Output":"=== RUN   TestRoot\n"}
{"Action":"output","Package":"podstep.dev/a","Test":"TestRoot","Output":"    a_test.go:7: needs root: another user\n"}
{"Action":"output","Package":"podstep.dev/a","Test":"TestRoot","Output":"        is wanted\n"}
{"Action":"output","Package":"podstep.dev/a","Test":"TestRoot","Output":"--- SKIP: TestRoot (0.00s)\n"}
{"Action":"skip","Package":"podstep.dev/a","Test":"TestRoot"}
{"Action":"output","Package":"podstep.dev/a","Output":"PASS\n"}
{"Action":"pass","Package":"podstep.dev/a","Elapsed":1.25}
`

func TestRunReportsSkipsWithTheirReason(t *testing.T) {
	want := `ok    a                                           1.2 s

skipped:
  a TestRoot: needs root: another user is wanted

1 passed, 0 failed, 1 skipped
`
	checkRun(t, events, "", true, want)
}

func TestRunFailsForSkipsThatAreNotAllowed(t *testing.T) {
	for _, tt := range []struct {
		allow string
		ok    bool
	}{
		{"", false},
		{"# a comment\n\na TestRoot needs root: *\n", true},
		{"* * *\n", true},
		{"a TestOther needs root: *\n", false},
		{"a TestRoot needs a kernel*\n", false},
	} {
		file := filepath.Join(t.TempDir(), "allow")
		if err := os.WriteFile(file, []byte(tt.allow), 0o600); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		ok, err := run(strings.NewReader(events), &out, file, second{})
		if err != nil || ok != tt.ok {
			t.Errorf("with %q allowed: %v, %v; want %v\n%s", tt.allow, ok, err, tt.ok, out.String())
		}
		if marked := strings.Contains(out.String(), "may not be skipped here"); marked == tt.ok {
			t.Errorf("with %q allowed the skip is marked: %v", tt.allow, marked)
		}
	}
}

func TestRunShowsWhatFailed(t *testing.T) {
	checkRun(t, `{"Action":"run","Package":"podstep.dev/a","Test":"TestBad"}
{"Action":"output","Package":"podstep.dev/a","Test":"TestBad","Output":"    a_test.go:3: want 1\n"}
{"Action":"fail","Package":"podstep.dev/a","Test":"TestBad"}
{"Action":"run","Package":"podstep.dev/a","Test":"TestHangs"}
{"Action":"output","Package":"podstep.dev/a","Test":"TestHangs","Output":"panic: test timed out\n"}
{"Action":"output","Package":"podstep.dev/a","Output":"FAIL\n"}
{"Action":"fail","Package":"podstep.dev/a","Elapsed":1}
`, "", false, `    a_test.go:3: want 1
panic: test timed out
FAIL

failed:
  a TestBad
  a TestHangs (did not end)

0 passed, 2 failed, 0 skipped
`)
}

func TestRunFailsWhenAPackageDoesNotBuild(t *testing.T) {
	checkRun(t, `{"ImportPath":"podstep.dev/a [podstep.dev/a.test]","Action":"build-output","Output":"a.go:1: undefined: x\n"}
{"ImportPath":"podstep.dev/a [podstep.dev/a.test]","Action":"build-fail"}
{"Action":"output","Package":"podstep.dev/a","Output":"FAIL\tpodstep.dev/a [build failed]\n"}
{"Action":"fail","Package":"podstep.dev/a","FailedBuild":"podstep.dev/a [podstep.dev/a.test]"}
{"Action":"pass","Package":"podstep.dev/b","Test":"TestGood"}
`, "", false, `a.go:1: undefined: x
FAIL	podstep.dev/a [build failed]

failed:
  podstep.dev/a [podstep.dev/a.test] does not build

1 passed, 1 failed, 0 skipped
`)
}

func TestRunFailsWhenNothingRan(t *testing.T) {
	checkRun(t, "somebody's word\n", "", false, "somebody's word\nno test ran\n\n0 passed, 0 failed, 0 skipped\n")
}

func checkRun(t *testing.T, in, allow string, ok bool, want string) {
	t.Helper()
	var out strings.Builder
	got, err := run(strings.NewReader(in), &out, allow, second{})
	if err != nil || got != ok {
		t.Errorf("run = %v, %v; want %v", got, err, ok)
	}
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

// TestRunAsksAgain : few failures are looked at once more, and a run that passes then says which they were.
func TestRunAsksAgain(t *testing.T) {
	fails := func(tests ...string) string {
		var b strings.Builder
		b.WriteString(`{"Action":"pass","Package":"podstep.dev/a","Test":"TestGood"}` + "\n")
		for _, test := range tests {
			b.WriteString(`{"Action":"fail","Package":"podstep.dev/a","Test":"` + test + `"}` + "\n")
		}
		b.WriteString(`{"Action":"fail","Package":"podstep.dev/a"}` + "\n")
		return b.String()
	}
	const passed, failed = `{"Action":"pass","Package":"podstep.dev/a","Test":"TestBad"}`, `{"Action":"fail","Package":"podstep.dev/a","Test":"TestBad"}`
	for name, c := range map[string]struct {
		in, second string
		status     string
		ok         bool
		want       string
	}{
		"passes":         {fails("TestBad/one", "TestBad"), passed, "0", true, "mend them:\n  a TestBad/one\n  a TestBad\n\n3 passed, 0 failed"},
		"fails":          {fails("TestBad"), failed, "1", false, "failed:\n  a TestBad\n\n1 passed, 1 failed"},
		"says nothing":   {fails("TestBad"), "", "0", false, "1 passed, 1 failed"},
		"ends in error":  {fails("TestBad"), passed, "1", false, "1 passed, 1 failed"},
		"too many":       {fails("TestBad", "TestWorse"), passed, "0", false, "1 passed, 2 failed"},
		"no test":        {fails(), passed, "0", false, "failed:\n  a\n"},
		"does not build": {fails("TestBad") + `{"Action":"build-fail","ImportPath":"podstep.dev/b"}`, passed, "0", false, "does not build"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			ok, err := run(strings.NewReader(c.in), &out, "", second{1, []string{"sh", "-c", `echo "$1"; exit $2`, "sh", c.second, c.status}})
			if err != nil || ok != c.ok || !strings.Contains(out.String(), c.want) {
				t.Errorf("%v, %v, want %v and %q\n%s", ok, err, c.ok, c.want, out.String())
			}
		})
	}
}
