package attach

import (
	"strings"
	"testing"
	"time"

	"podstep.dev/adapter/config"
)

func TestEventSaysWhoDidWhatFromWhenUntilWhen(t *testing.T) {
	since := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	in := instance(0, Needs{})
	for want, e := range map[string]Event{
		"alice@laptop borrowed container app: steal of ports 80, 443, unfiltered": {
			Reason: Borrowed, Incoming: config.Incoming{Mode: config.ModeSteal, Ports: map[uint16]uint16{443: 443, 80: 8080}},
		},
		"alice@laptop borrowed container app: mirror of the ports that the debuggee serves, unfiltered": {
			Reason: Borrowed, Incoming: config.Incoming{Mode: config.ModeMirror},
		},
		"alice@laptop returned container app, borrowed from 2026-11-23T09:00:00Z to 2026-11-23T09:05:00Z: no incoming traffic": {
			Reason: Returned, Incoming: config.Incoming{Mode: config.ModeOff}, Until: since.Add(5 * time.Minute),
		},
		"alice@laptop was refused container app (steal of port 80, unfiltered): bob@desk has it": {
			Reason: Refused, Incoming: config.Incoming{Mode: config.ModeSteal, Ports: map[uint16]uint16{80: 8080}}, Why: "bob@desk has it",
		},
		"alice@laptop released ports 80, 443 of container app: olga@ops revoked stealing": {
			Reason: Yielded, Ports: []uint16{80, 443}, Why: "olga@ops revoked stealing",
		},
	} {
		e.Holder, e.Since = "alice@laptop", since
		got := e.object(in)
		if got.Message != want || got.Reason != e.Reason {
			t.Errorf("%s: %q, want %q", got.Reason, got.Message, want)
		}
		if got.InvolvedObject.Name != "web-0" || got.InvolvedObject.UID != "u-1" || got.Namespace != "shop" {
			t.Errorf("of %v", got.InvolvedObject)
		}
		if got.LastTimestamp.Time.Before(got.FirstTimestamp.Time) {
			t.Errorf("from %v to %v", got.FirstTimestamp, got.LastTimestamp)
		}
	}
	long := Event{Reason: Borrowed, Holder: strings.Repeat("x", 1000)}.object(in)
	if len(long.ReportingInstance) > maxReporter {
		t.Errorf("a reporter of %d characters", len(long.ReportingInstance))
	}
	wordy := Event{Reason: Refused, Holder: "alice@laptop", Why: strings.Repeat("ä", 1000)}.object(in)
	if len(wordy.Message) > 1024 {
		t.Errorf("a message of %d bytes", len(wordy.Message))
	}
}
