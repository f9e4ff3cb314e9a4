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
	// KindRequest carries one HTTP request of a client's connection to the debuggee, and its response back; the agent opens
	// it. Port, From, To, Subscription, Connection, Request and Protocol are set. The payload is the request as the client sent
	// it, ended by the half's end. After the answer comes an [Outcome], then the response, ended likewise: interim responses
	// and one final one. After a response 101, or 2xx to CONNECT, both halves are raw bytes.
	KindRequest Kind = "request"
	// KindCopy carries a mirrored connection's bytes to the debuggee; the agent opens it and ignores what comes back.
	// Port, From, To, Subscription are set.
	KindCopy Kind = "copy"
	// KindRequestCopy carries a mirrored request of HTTP/2 to the debuggee; the agent opens it and ignores what comes back but its end, which
	// says that the request was answered. Port, From, To, Subscription, Connection, Request and Protocol are set, and the payload is as
	// of [KindRequest].
	KindRequestCopy Kind = "requestCopy"
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
	// Connection numbers the client's connection in the link, from 1: requests of one connection come one after the other, of HTTP/2 at once, and go
	// to one connection of the debuggee as long as that is kept alive.
	Connection uint64 `json:"connection,omitempty"`
	// Request numbers the request in the link, from 1.
	Request uint64 `json:"request,omitempty"`
	// Protocol of a request: [HTTP1] or [HTTP2].
	Protocol string `json:"protocol,omitempty"`
	// Probe says that the request is a probe, which the subscription wants delivered ([ProbesDebuggee]): while the debugger is
	// stopped, it is refused.
	Probe bool `json:"probe,omitempty"`
	// Address is where to dial.
	Address netip.AddrPort `json:"address,omitzero"`
	// Subscription is the id under which the adapter asked for the connection.
	Subscription uint64 `json:"subscription,omitempty"`
	// TLS says that the client's connection was TLS; the payload is what that carried.
	TLS *Secured `json:"tls,omitempty"`
}

// Answer is the one reply to a Header. The zero Answer means opened.
type Answer struct {
	Refusal *Refusal `json:"refusal,omitempty"`
	// Local is the dialler's own address in the target's network namespace (KindDial).
	Local netip.AddrPort `json:"local,omitzero"`
}

// HTTP1 is the protocol of requests of HTTP/1.0 and 1.1.
const HTTP1 = "http/1"

// HTTP2 is the protocol of requests of HTTP/2, each of which is a message of package h2.
const HTTP2 = "h2"

// Outcome follows the answer of a [KindRequest] stream, in a frame of its own: with the response, or when there will be none.
// The zero Outcome means that the response follows.
type Outcome struct {
	// Failed says that the debuggee has not begun to answer and will not; nothing follows.
	Failed *Failure `json:"failed,omitempty"`
}

// Failure is a delivered request that the debuggee did not begin to answer.
type Failure struct {
	// Status is what the client is told when nobody else answers: 502 or 504.
	Status int `json:"status"`
	// Fallback says that the target may answer instead, if the agent still has the whole request.
	Fallback bool `json:"fallback,omitempty"`
	// Text is for people: the client and the developer.
	Text string `json:"text,omitempty"`
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
	// ReasonTLS : the certificates for [SubscribeParams.TLS] cannot be used.
	ReasonTLS Reason = "tls"
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
