package attach

import (
	"testing"

	"podstep.dev/adapter/config"
)

// TestCertificatesOfTheTargetTakeALookIntoItsProcess : also without its environment. Those of the workstation do not.
func TestCertificatesOfTheTargetTakeALookIntoItsProcess(t *testing.T) {
	for from, want := range map[string]bool{"": true, config.FromTarget: true, config.FromWorkstation: false} {
		m := config.Default()
		m.Env.Include = nil
		m.Incoming.Mode = config.ModeSteal
		m.Incoming.TLS = map[uint16]config.TLS{443: {Cert: "/tls.crt", Key: "/tls.key", From: from}}
		if got := NeedsOf(m, Allow).Process; got != want {
			t.Errorf("from %q: %v, want %v", from, got, want)
		}
	}
}
