// Package testkit is what several packages' tests need: namespaces of their own, a slow link, waiting without sleeping.
// Only tests import it.
package testkit

import (
	"testing"
	"time"
)

// Patience is how long a test waits for what should happen soon; machines that run tests are busy.
const Patience = 30 * time.Second

// Eventually polls until holds returns true, and fails the test when it does not within Patience.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", Patience, what)
		}
		<-tick.C
	}
}
