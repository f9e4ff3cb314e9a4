package control

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestLogHasOneLinePerEntry : whoever reads an agent's log by lines takes a second one for a warning of its own.
func TestLogHasOneLinePerEntry(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	rpcLog{zap.New(core).Sugar()}.Printf("jsonrpc2: protocol error: %v\n", "reset")
	if got := logs.All(); len(got) != 1 || got[0].Message != "jsonrpc2: protocol error: reset" {
		t.Errorf("logged %+v", got)
	}
}
