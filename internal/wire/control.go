package wire

import (
	"encoding/json"
	"net/netip"
	"time"
)

// Control methods. The adapter calls, the agent answers; Method* below "notices" go the other way and have no answer.
const (
	MethodDescribe    = "describe"
	MethodSubscribe   = "subscribe"
	MethodUnsubscribe = "unsubscribe"
	MethodPaused      = "paused"
	MethodLeave       = "leave"
	MethodSessions    = "sessions"
	MethodPatience    = "patience"

	NoticeEnded  = "ended"
	NoticeLost   = "lost"
	NoticeClosed = "closed"
	NoticeUnread = "unread"
)

// DescribeParams asks what a process in the target sees.
type DescribeParams struct {
	// Environment asks for the environment too; without it no variable leaves the target.
	Environment bool `json:"environment,omitempty"`
}

// Description is what a process in the target sees.
type Description struct {
	Hostname string `json:"hostname"`
	// Addresses are the target's own, without loopback and link-local.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Environment is the target process's own, as KEY=VALUE, in its order.
	Environment []string `json:"environment,omitempty"`
	// ResolvConf is the text of the target's /etc/resolv.conf.
	ResolvConf string `json:"resolvConf,omitempty"`
}

// Mode says what happens to the target's incoming traffic.
type Mode string

const (
	// ModeSteal : the debuggee answers instead of the target.
	ModeSteal Mode = "steal"
	// ModeMirror : the debuggee gets a copy, its answers are dropped.
	ModeMirror Mode = "mirror"
)

// SubscribeParams asks for the traffic of one port of the target. Connections that exist already stay as they are, unless Existing says
// otherwise.
type SubscribeParams struct {
	Port uint16 `json:"port"`
	Mode Mode   `json:"mode"`
	// Probes are HTTP probes of the port: GET requests of the kubelet (User-Agent "kube-probe/") for one of these paths. A
	// thief leaves them to the target.
	Probes []string `json:"probes,omitempty"`
	// ProbesTo says who answers probes; it needs Requests. An agent that does not know it leaves them to the target.
	ProbesTo ProbesTo `json:"probesTo,omitempty"`
	// ProbeFilter says which GET and HEAD requests are probes beside those of Probes, in the form of package filter, without
	// conditions on the body. It needs Requests.
	ProbeFilter json.RawMessage `json:"probeFilter,omitempty"`
	// Existing says what becomes of connections to a stolen port that were made before. An agent that does not know it keeps them.
	Existing Existing `json:"existing,omitempty"`
	// Loopback takes only what comes over the loopback interface: a sidecar hands the target its traffic there.
	Loopback bool `json:"loopback,omitempty"`
	// Requests asks for HTTP requests one by one ([KindRequest]) where the client speaks HTTP, instead of whole connections.
	Requests bool `json:"requests,omitempty"`
	// Filter takes only requests that it matches, in the form of package filter. It needs Requests. An agent of a minor version
	// below 2, of a mirror below 3, would ignore it and take all.
	Filter json.RawMessage `json:"filter,omitempty"`
	// OnPause is the adapter's policy for requests that come while the debugger is stopped: with [PausePass] the agent need not
	// ask while it knows of the pause. The adapter has the last word.
	OnPause OnPause `json:"onPause,omitempty"`
	// Hold is how many seconds the adapter may take at the most to answer a request's stream, beside what it takes anyway.
	Hold int `json:"hold,omitempty"`
	// Repeat says which requests the target may answer when the link is lost before the debuggee has begun to.
	Repeat Repeat `json:"repeat,omitempty"`
	// TLS takes TLS off. It needs Requests and a steal. An agent of a minor version below 3 would ignore it.
	TLS *TLS `json:"tls,omitempty"`
}

// ProbesTo says who answers probes.
type ProbesTo string

const (
	// ProbesTarget : the target, always. So does the zero value.
	ProbesTarget ProbesTo = "target"
	// ProbesDebuggee : the debuggee as long as the debugger is not stopped, else the target.
	ProbesDebuggee ProbesTo = "debuggee"
)

// Existing says what becomes of connections that were made before a port was stolen.
type Existing string

const (
	// ExistingKeep : they stay with the target. So does the zero value.
	ExistingKeep Existing = "keep"
	// ExistingReset : the agent resets them, so that their clients connect again.
	ExistingReset Existing = "reset"
)

// Repeat says which requests that were delivered to a debuggee, which did not begin to answer them, may be given to the target: both write
// to the same databases.
type Repeat string

const (
	// RepeatSafe : those with a safe method, GET, HEAD, OPTIONS and TRACE (RFC 9110 §9.2.1). So does the zero value.
	RepeatSafe Repeat = "safe"
	// RepeatIdempotent : those with an idempotent method or an Idempotency-Key field, too.
	RepeatIdempotent Repeat = "idempotent"
	// RepeatNever : none.
	RepeatNever Repeat = "never"
)

// OnPause says what happens to requests that come while the debugger is stopped.
type OnPause string

const (
	// PausePass : they go to the target. So does the zero value.
	PausePass OnPause = "passthrough"
	// PauseHold : they wait for the debugger.
	PauseHold OnPause = "hold"
	// PauseReject : they are answered 503.
	PauseReject OnPause = "reject"
)

// Subscription is the grant. It ends with Unsubscribe or with the link.
type Subscription struct {
	ID uint64 `json:"id"`
	// Existing is how many connections to a stolen port were there before: they stay with the target.
	Existing int `json:"existing,omitempty"`
	// Reset is how many others there were, which the agent has reset, as [ExistingReset] wants. Kept says why it could not reset
	// those that stay, if it was asked to.
	Reset int    `json:"reset,omitempty"`
	Kept  string `json:"kept,omitempty"`
}

// PatienceParams says from now on how long the adapter may take, like SubscribeParams.Hold, whichever is longer.
type PatienceParams struct {
	// Hold is in seconds.
	Hold int `json:"hold"`
}

// UnsubscribeParams ends one subscription. Connections that were delivered go on.
type UnsubscribeParams struct {
	ID uint64 `json:"id"`
}

// EndedParams tells that the agent ended a subscription by itself.
type EndedParams struct {
	ID      uint64  `json:"id"`
	Refusal Refusal `json:"refusal"`
}

// LostParams counts what a mirror could not deliver since the last notice.
type LostParams struct {
	ID uint64 `json:"id"`
	// Packets the kernel dropped before the agent read them.
	Packets uint64 `json:"packets,omitempty"`
	// Connections, or requests of HTTP/2, whose copy was given up: gaps, memory, or a debuggee that did not read.
	Connections uint64 `json:"connections,omitempty"`
}

// UnreadParams counts connections since the last notice that a subscription's filter could not look into, by why. What they
// carry is the target's alone.
type UnreadParams struct {
	ID          uint64            `json:"id"`
	Connections map[Unread]uint64 `json:"connections"`
}

// Unread says why requests of a connection cannot be told apart, from its beginning or from some request on. There may be others.
type Unread string

const (
	// UnreadTLS : it is encrypted.
	UnreadTLS Unread = "tls"
	// UnreadHTTP2 : it is HTTP/2 to a target that does not speak it. Of a mirror: HTTP/2 that a client asked for by an upgrade, that is
	// malformed, whose fields take more memory than there is for them, or whose copies the adapter does not know.
	UnreadHTTP2 Unread = "http2"
	// UnreadOther : it is no HTTP.
	UnreadOther Unread = "other"
	// UnreadServer : the server speaks first.
	UnreadServer Unread = "server"
	// UnreadOdd : a message could be read in more than one way.
	UnreadOdd Unread = "odd"
	// UnreadLong : a head is too long.
	UnreadLong Unread = "long"
	// UnreadUpgrade : what a mirror sees may be of another protocol that a client asked for.
	UnreadUpgrade Unread = "upgrade"
	// UnreadOld : a mirror did not see its beginning.
	UnreadOld Unread = "old"
	// UnreadCrowded : the agent has as many connections as it may. Others that come meanwhile go to the target without it and are not counted.
	UnreadCrowded Unread = "crowded"
)

// Of connections to a port whose TLS is taken off ([SubscribeParams.TLS]), for sessions without filters, too. The first four ended; the others
// stay encrypted and the target's.
const (
	// UnreadTLSUntrusted : the client does not trust the certificate that it was shown.
	UnreadTLSUntrusted Unread = "tls-untrusted"
	// UnreadTLSFailed : the client's handshake failed in another way.
	UnreadTLSFailed Unread = "tls-failed"
	// UnreadTLSExpired : the client's handshake took too long.
	UnreadTLSExpired Unread = "tls-expired"
	// UnreadTLSRefused : the target does not take the certificate that it is shown in place of the client's.
	UnreadTLSRefused Unread = "tls-refused"
	// UnreadTLSMutual : the target asks clients for a certificate, and there is none to show.
	UnreadTLSMutual Unread = "tls-mutual"
	// UnreadTLSTarget : the target did not finish its handshake: it speaks no TLS, or refuses what the client wants.
	UnreadTLSTarget Unread = "tls-target"
	// UnreadTLSName : no certificate is there for the name that the client asks for.
	UnreadTLSName Unread = "tls-name"
	// UnreadTLSOld : the client speaks TLS of before 1.2, or with no cipher suite or signature that is known here.
	UnreadTLSOld Unread = "tls-old"
	// UnreadTLSMemory : there was no memory for it.
	UnreadTLSMemory Unread = "tls-memory"
)

// ClosedParams tells that no further request comes of these connections of clients (Header.Connection): what the debuggee has of
// each ends when the request that it answers, if any, is answered.
type ClosedParams struct {
	Connections []uint64 `json:"connections"`
}

// Holder describes who holds a stolen port. It is stored beside the rule, where every agent can read it.
type Holder struct {
	Name    string    `json:"name"`
	Session string    `json:"session,omitempty"`
	Since   time.Time `json:"since"`
}

// PausedParams tells whether the session's debugger is stopped, for others who ask who holds a port.
type PausedParams struct {
	Paused bool `json:"paused"`
}

// LeaveParams is the adapter's farewell: the session is over, its link is about to end.
type LeaveParams struct {
	// Linger is how many seconds the agent may stay when it has no other session. 0: it goes at once.
	Linger int `json:"linger"`
}

// Session is one session of an agent, as MethodSessions lists them.
type Session struct {
	Holder
	// Program is the adapter's release: "podstep 0.1.0".
	Program string `json:"program"`
	// Subscriptions are in the order in which they began.
	Subscriptions []SubscribeParams `json:"subscriptions"`
	// Paused says whether the debugger is stopped, PausedSince since when.
	Paused      bool      `json:"paused"`
	PausedSince time.Time `json:"pausedSince,omitzero"`
}

// Sessions is the answer to MethodSessions.
type Sessions struct {
	Sessions []Session `json:"sessions"`
}
