package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"podstep.dev/internal/testkit/pod"
)

func TestMain(m *testing.M) {
	pod.Main()
	os.Exit(m.Run())
}

func TestTheWholeStoryIsSeen(t *testing.T) {
	if _, err := os.Stat("../../bin/podstep"); err != nil {
		t.Skip("the programs are not built: make build")
	}
	if _, err := findDlv("../.."); err != nil {
		t.Skip(err)
	}
	if p, err := pod.Start(pod.Options{}); err != nil {
		t.Skip(err)
	} else if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	demo := exec.CommandContext(t.Context(), "go", "run", ".")
	demo.Stdout, demo.Stderr = &out, &out
	if err := demo.Run(); err != nil || !strings.Contains(out.String(), "All of it was seen") {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
}

func TestRepliesAreReadLineByLine(t *testing.T) {
	r := newReplies()
	for _, part := range []string{`{"source":"a`, `"}` + "\n" + `{"source":"b"}` + "\nno json\n", `{"source":"c"}`} {
		if n, err := r.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	var got []string
	for _, one := range r.that(func(reply) bool { return true }) {
		got = append(got, one.Source)
	}
	if strings.Join(got, " ") != "a b" {
		t.Errorf("read %q", got)
	}
}

func TestFailuresAreForgivenOnlyWhileADebuggeeEnds(t *testing.T) {
	end := time.Now()
	s := &story{ends: []time.Time{end}}
	for name, tc := range map[string]struct {
		began  time.Duration
		took   time.Duration
		text   string
		harmed bool
	}{
		"no failure":      {-time.Minute, time.Second, "", false},
		"long before":     {-time.Minute, time.Second, "reset", true},
		"the end hits it": {-time.Second, 2 * time.Second, "reset", false},
		"just after":      {500 * time.Millisecond, time.Millisecond, "reset", false},
		"later":           {2 * time.Second, time.Millisecond, "reset", true},
	} {
		if got := s.harmed(reply{Began: end.Add(tc.began), Took: tc.took, Error: tc.text}); got != tc.harmed {
			t.Errorf("%s: harmed is %v", name, got)
		}
	}
}

func TestTheTableTellsAClaimThatDidNotHold(t *testing.T) {
	var out bytes.Buffer
	s := &transcript{out: &out}
	s.claim(true, "the sky is blue", "today")
	if !s.table() {
		t.Error("a true claim did not hold")
	}
	s.claim(false, "the moon is green", "it is %s", "grey")
	if s.table() {
		t.Error("a false claim held")
	}
	if want := "✗ the moon is green │ it is grey\n"; !strings.Contains(out.String(), want) {
		t.Errorf("%s lacks %q", out.String(), want)
	}
}
