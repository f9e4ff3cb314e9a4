package wire

import (
	"fmt"
	"net/netip"
	"syscall"
)

// Kind says what a stream is for. A kind that the other end does not know is refused with ENOTSUP.
type Kind string

const (
	// KindControl carries JSON-RPC 2.0; the adapter opens it once, first.
	KindControl Kind = "control"
	// KindIncoming carries a stolen connection to the debuggee; the agent opens it. Port, From, To, Subscription are set.
	KindIncoming Kind = "incoming"
	// KindCopy carries a mirrored connection's bytes to the debuggee; the agent opens it and ignores what comes back.
	// Port, From, To, Subscription are set.
	KindCopy Kind = "copy"
	// KindDial asks for a TCP connection from the target's network namespace to Address.
	KindDial Kind = "dial"
	// KindDNS carries DNS messages, each behind two bytes of length (RFC 1035 §4.2.2), answered as inside the target.
	KindDNS Kind = "dns"
	// KindListening says that the debuggee serves Port. A launcher's parent half opens it towards the adapter, waits for
	// the answer and closes it.
	KindListening Kind = "listening"
)

// Header opens a stream. First bytes of the payload may follow it before the answer, in the same write or later.
type Header struct {
	Kind Kind `json:"kind"`
	// Port is the target's port that the connection was made to; with KindListening the debuggee's.
	Port uint16 `json:"port,omitempty"`
	// From is the peer: the original other end of the connection.
	From netip.AddrPort `json:"from,omitzero"`
	// To is the original destination of the connection.
	To netip.AddrPort `json:"to,omitzero"`
	// Address is where to dial.
	Address netip.AddrPort `json:"address,omitzero"`
	// Subscription is the id under which the adapter asked for the connection.
	Subscription uint64 `json:"subscription,omitempty"`
}

// Answer is the one reply to a Header. The zero Answer means opened.
type Answer struct {
	Refusal *Refusal `json:"refusal,omitempty"`
	// Local is the dialler's own address in the target's network namespace (KindDial).
	Local netip.AddrPort `json:"local,omitzero"`
}

// Reason tells refusals apart that share an errno. Unknown reasons are treated as empty.
type Reason string

const (
	// ReasonPaused : the debugger is stopped and its policy is passthrough.
	ReasonPaused Reason = "paused"
	// ReasonTaken : another session holds it; Text says who and since when.
	ReasonTaken Reason = "taken"
	// ReasonDenied : the agent lacks the permission or capability.
	ReasonDenied Reason = "denied"
	// ReasonUnsupported : the kernel or the agent cannot do it.
	ReasonUnsupported Reason = "unsupported"
)

// Refusal is a "no" over the wire. It is an error; errors.Is compares its Errno.
type Refusal struct {
	// Errno is the kernel's own verdict where there is one (numbers of linux/asm-generic), else the nearest.
	Errno syscall.Errno `json:"errno"`
	// Reason is set where errno is not enough.
	Reason Reason `json:"reason,omitempty"`
	// Text is for people.
	Text string `json:"text,omitempty"`
}

func (r *Refusal) Error() string {
	if r.Text == "" {
		return r.Errno.Error()
	}
	return fmt.Sprintf("%s (%s)", r.Text, r.Errno.Error())
}

// Unwrap makes errors.Is(err, syscall.ECONNREFUSED) work.
func (r *Refusal) Unwrap() error { return r.Errno }
