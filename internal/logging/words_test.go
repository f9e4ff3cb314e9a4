package logging

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestWordsAreLinesAtTheirLevel(t *testing.T) {
	core, lines := observer.New(zap.DebugLevel)
	w := NewWords(zap.New(core))
	for _, part := range []string{"10:00:00.000\tDEB", "UG\tsmall\n10:00:00.000\tERROR\tlarge\r\n\nplain\nhalf a"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("wrote %d, %v", n, err)
		}
	}
	var got []string
	for _, e := range lines.All() {
		got = append(got, e.Level.String()+" "+e.Message)
	}
	if diff := cmp.Diff([]string{"debug 10:00:00.000\tDEBUG\tsmall", "error 10:00:00.000\tERROR\tlarge", "warn plain"}, got); diff != "" {
		t.Error(diff)
	}
	if tail := w.Tail(); !strings.HasSuffix(tail, "plain\nhalf a") {
		t.Errorf("the tail is %q", tail)
	}
}

func TestWordsWithoutEndAreCut(t *testing.T) {
	core, lines := observer.New(zapcore.DebugLevel)
	w := NewWords(zap.New(core))
	_, _ = w.Write([]byte(strings.Repeat("x", 3*maxLine+1) + "\nend\n"))
	if lines.Len() != 5 {
		t.Errorf("%d lines, want three cut ones, their rest and the end", lines.Len())
	}
	for _, e := range lines.All() {
		if len(e.Message) > maxLine {
			t.Errorf("a line of %d bytes", len(e.Message))
		}
	}
	if tail := w.Tail(); len(tail) > keptWords || !strings.HasSuffix(tail, "x\nend") {
		t.Errorf("kept %d bytes", len(tail))
	}
}
