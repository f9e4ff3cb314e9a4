//go:build linux

package redirect

import (
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"podstep.dev/internal/wire"
)

func TestResidenceIsOneAgentsAndNamesIt(t *testing.T) {
	first, err := Reside(wire.Holder{Name: "podstep-x7k2q", Since: time.Date(2026, 7, 3, 14, 2, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Reside(wire.Holder{Name: "podstep-other"})
	var refusal *wire.Refusal
	if !errors.As(err, &refusal) || refusal.Reason != wire.ReasonTaken || refusal.Errno != syscall.EEXIST || refusal.Text != "another resident is here: podstep-x7k2q since 14:02 UTC" {
		t.Errorf("second: %v", err)
	}
	out, err := exec.CommandContext(t.Context(), "nft", "list", "table", "inet", "podstep-resident").CombinedOutput()
	if err != nil || strings.Contains(string(out), "chain") {
		t.Errorf("it has rules: %v: %s", err, out)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Reside(wire.Holder{Name: "podstep-other"})
	if err != nil {
		t.Fatalf("after the first's end: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
