//go:build linux

package redirect

import (
	"errors"
	"fmt"
	"syscall"

	"podstep.dev/internal/wire"
)

// residenceTable has no rules: it only says that an agent resides in the network namespace.
const residenceTable = "podstep-resident"

// Residence is an agent's mark in the network namespace of the calling process. It goes with Close and with the process.
type Residence struct{ table *table }

// Reside marks the network namespace as resident's. Where another agent resides already, or may not be marked, the error is
// a *wire.Refusal: wire.ReasonTaken, whose words name the other, or wire.ReasonDenied without CAP_NET_ADMIN.
func Reside(resident wire.Holder) (*Residence, error) {
	t, err := openTable(residenceTable, encodeHolder(resident))
	if err == nil {
		return &Residence{t}, nil
	}
	// A table of another owner is EPERM to everyone else, as a missing capability is.
	if errors.Is(err, syscall.EEXIST) || errors.Is(err, syscall.EPERM) {
		if other, ok := holderOf(residenceTable); ok {
			text := "another resident is here: " + other.Name
			if !other.Since.IsZero() {
				text += fmt.Sprintf(" since %s UTC", other.Since.UTC().Format("15:04"))
			}
			return nil, &wire.Refusal{Errno: syscall.EEXIST, Reason: wire.ReasonTaken, Text: text}
		}
	}
	return nil, lacking("mark the network namespace", err)
}

// Close removes the mark.
func (r *Residence) Close() error { return r.table.Close() }
