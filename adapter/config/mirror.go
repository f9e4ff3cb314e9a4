// Package config is the "mirror" block of a launch configuration: its keys, their defaults, and everything that can be
// wrong with it. It is pure: bytes in, values and problems out. The comments of its structs are the user's documentation;
// the JSON schema, the extension's attributes and docs/configuration.md are generated from them (see gen).
package config

// Which pods of a workload are borrowed.
const (
	PodsAll = "all"
	PodsOne = "one"
)

// Kinds of agents.
const (
	AgentAuto      = "auto"
	AgentEphemeral = "ephemeral"
	AgentJob       = "job"
)

// Modes of incoming traffic.
const (
	// Mirrored traffic is a copy: the target answers, the debuggee's answers are dropped.
	ModeMirror = "mirror"
	// Stolen traffic is answered by the debuggee.
	ModeSteal = "steal"
	// Off leaves the target's incoming traffic alone.
	ModeOff = "off"
)

// What becomes of requests that come while the debugger is stopped.
const (
	PausePassthrough = "passthrough"
	PauseHold        = "hold"
	PauseReject      = "reject"
)

// What becomes of requests that the debuggee did not answer.
const (
	FailFallback = "fallback"
	FailError    = "error"
)

// What becomes of connections that clients made before the session.
const (
	ExistingKeep  = "keep"
	ExistingReset = "reset"
)

// Who answers probes.
const (
	ProbesTarget   = "target"
	ProbesDebuggee = "debuggee"
)

// Mirror says which process the debuggee stands in for, and what of that process's surroundings it gets.
type Mirror struct {
	// What to stand in for. In a cluster `deployment/web`, and likewise `pod`, `statefulset`, `daemonset`, `replicaset`, `job`,
	// `cronjob`, `service` and `rollout`, also by kubectl's short names; `/container/NAME` behind it chooses the container,
	// else podstep takes the one that kubectl would, and no sidecar of a mesh. `targetless` is a session without a target: the
	// network and the names of a namespace, and no incoming traffic. `process/PID` is a process on this machine in a network
	// namespace of its own.
	Target string `json:"target" jsonschema:"required,example=deployment/web,example=process/4242"`
	// The kubeconfig file. Without it kubectl's: $KUBECONFIG, or .kube/config in the home directory.
	Kubeconfig string `json:"kubeconfig,omitempty"`
	// The context of the kubeconfig. Without it the current one.
	Context string `json:"context,omitempty"`
	// The target's namespace. Without it the context's.
	Namespace string `json:"namespace,omitempty"`
	// Of a workload with several replicas: `all` borrows every ready pod, also those that come later, `one` a single one.
	Pods string `json:"pods" jsonschema:"enum=all,enum=one,default=all"`
	// How the agent gets beside a target in a cluster.
	Agent Agent `json:"agent"`
	// Requests that others make to the target.
	Incoming Incoming `json:"incoming"`
	// Connections that the debuggee makes.
	Outgoing Outgoing `json:"outgoing"`
	// Whether names are resolved as the target resolves them, with its search list and its servers.
	DNS bool `json:"dns" jsonschema:"default=true"`
	// Whether the debuggee sees the target's hostname as its own.
	Hostname bool `json:"hostname" jsonschema:"default=true"`
	// Which of the target's environment variables the debuggee gets.
	Env Env `json:"env"`
}

// Agent says how the agent gets beside a target in a cluster, and how long it stays.
type Agent struct {
	// `ephemeral` adds an ephemeral container to the target's pod; `job` runs a pod on the target's node that enters the
	// target's namespaces, and leaves no entry in the target's pod; `auto` takes the first of the two that the cluster allows.
	Kind string `json:"kind" jsonschema:"enum=auto,enum=ephemeral,enum=job,default=auto"`
	// The namespace of the agent's own pod (`job`, and a session without a target). Without it the target's.
	Namespace string `json:"namespace,omitempty"`
	// The agent's image. Without it that of this release.
	Image string `json:"image,omitempty"`
	// How many seconds an idle agent stays after a session, so that the next one starts at once. 0: it goes with the session.
	Linger int `json:"linger" jsonschema:"default=60,minimum=0,maximum=3600"`
}

// Incoming says what happens to requests that others make to the target.
type Incoming struct {
	// `mirror` gives the debuggee a copy of the traffic and drops its answers; the target notices nothing. `steal` lets the
	// debuggee answer instead of the target. `off` leaves incoming traffic alone, and is what a session without a target has.
	Mode string `json:"mode" jsonschema:"enum=mirror,enum=steal,enum=off,default=mirror"`
	// The target's ports, each with the debuggee's port that gets its traffic: `{"80": 8080}`. Without it, every port that
	// the debuggee listens on gets the traffic of the target's port of the same number.
	Ports map[uint16]uint16 `json:"ports,omitempty"`
	// Which HTTP requests the debuggee gets; the others stay the target's. An object of conditions, which must all be met:
	// `{"header": {"x-user": "alice"}, "path": {"glob": "/api/**"}}`. Or `mine`: requests with a key of this session in their baggage
	// (`baggage: podstep=KEY`), which the session says when it starts. Without a filter, all traffic.
	Filter Filter `json:"filter,omitzero"`
	// The target's ports that speak TLS, each with what takes that off, so that requests can be told apart:
	// `{"8443": {"cert": "/etc/tls/tls.crt", "key": "/etc/tls/tls.key"}}`. Clients and target agree on the protocol as they would by themselves. What cannot be
	// taken off stays encrypted and goes to the target. With `mode` `steal`.
	TLS map[uint16]TLS `json:"tls,omitempty"`
	// What becomes of requests that come while the debugger is stopped; those that the debuggee has already wait there.
	// `passthrough` gives them to the target, `hold` has them wait (see `incoming.hold`), `reject` answers 503 with a
	// `Retry-After` of one second; what is not HTTP/1 goes to the target then. Without it `reject` for a session with a filter,
	// whose requests are its own, and else `passthrough`, which others notice least. With `mode` `steal`.
	OnPause string `json:"onPause,omitempty" jsonschema:"enum=passthrough,enum=hold,enum=reject"`
	// How many requests wait for how long, with `onPause` `hold` and those that a rule with `break` holds. Those beyond go to the
	// target.
	Hold Hold `json:"hold"`
	// What becomes of an HTTP request that the debuggee has got and did not begin to answer before it closed the connection or
	// ended. `fallback` has the target answer where nobody notices that two had the request: `GET`, `HEAD`, `OPTIONS` and `TRACE`
	// (see also `incoming.fallbackIdempotent`), else the client is told 502, as always with `error`. podstep never gives
	// a request to the debuggee twice. With `mode` `steal`.
	OnExit string `json:"onExit" jsonschema:"enum=fallback,enum=error,default=fallback"`
	// What becomes of an HTTP request that the debuggee does not begin to answer within `incoming.hangTimeout`: as with
	// `incoming.onExit`, and the client is told 504. With `mode` `steal`.
	OnHang string `json:"onHang" jsonschema:"enum=fallback,enum=error,default=fallback"`
	// How many seconds the debuggee may take to begin its answer to an HTTP request, after the last byte of it. The time for
	// which the debugger is stopped does not count. 0: as long as it likes. With `mode` `steal`.
	HangTimeout int `json:"hangTimeout" jsonschema:"default=0,minimum=0,maximum=3600"`
	// Whether the target may answer `PUT` and `DELETE` too, and requests with an `Idempotency-Key`, that the debuggee has got
	// and did not answer: whoever wrote the target says that it does no harm. With `mode` `steal`.
	FallbackIdempotent bool `json:"fallbackIdempotent" jsonschema:"default=false"`
	// What is done with HTTP requests before the debuggee gets them. The first rule that matches a request counts; they can be changed
	// while the session lasts (`podstep rules`). Requests that `onPause` `passthrough` gives to the target meet no rule, nor do probes.
	// With `mode` `steal`.
	Rules []Rule `json:"rules,omitempty"`
	// What becomes of connections that clients made to a stolen port before the session. `keep` leaves them to the target for as long
	// as they last. `reset` resets them, when they are idle if that is so within two seconds, and their clients connect again: then
	// their requests are told apart, too. With `mode` `steal`.
	Existing string `json:"existing" jsonschema:"enum=keep,enum=reset,default=keep"`
	// Who answers probes: the kubelet's HTTP probes that the target's pod declares, and those of `incoming.probeFilter`. `target`
	// always, or the `debuggee`, except while the debugger is stopped or when it takes longer than 0.7 seconds: then the target
	// does all the same, so that no breakpoint makes the kubelet restart the pod. With `mode` `steal`.
	Probes string `json:"probes" jsonschema:"enum=target,enum=debuggee,default=target"`
	// Which `GET` and `HEAD` requests are probes besides the kubelet's, a load balancer's for example:
	// `{"header": {"user-agent": {"prefix": "ELB-HealthChecker/"}}}`. It cannot look into bodies. With `mode` `steal`.
	ProbeFilter Only `json:"probeFilter,omitzero"`
}

// Hold bounds the requests that wait for the debugger, or for somebody to release them.
type Hold struct {
	// How many requests may wait at once.
	Requests int `json:"requests" jsonschema:"default=100,minimum=0,maximum=1000"`
	// How many seconds each may wait. Clients and proxies have their own patience, which is often shorter.
	Seconds int `json:"seconds" jsonschema:"default=60,minimum=1,maximum=3600"`
}

// Outgoing says where the debuggee's connections are made.
type Outgoing struct {
	// Whether TCP connections of the debuggee are made from the target's network. Loopback is always this machine's.
	TCP bool `json:"tcp" jsonschema:"default=true"`
	// Destinations that are reached from this machine nevertheless: an address (`10.0.0.1`), a prefix (`192.168.0.0/16`), each
	// with a port if wanted (`192.168.0.0/16:5432`, `[fd00::/8]:5432`), or a port alone (`:443`). Names cannot be used here.
	Local []string `json:"local,omitempty" jsonschema:"example=192.168.0.0/16:5432,example=:443"`
}

// Env chooses among the target's environment variables. The rest of the debuggee's environment is this machine's.
type Env struct {
	// Names of variables to take; `*` stands for any characters. A name written out in full is taken even when it is one of
	// those that stay this machine's (see the list below).
	Include []string `json:"include" jsonschema:"default=*"`
	// Names of variables to leave out, besides those that stay this machine's; `*` stands for any characters.
	Exclude []string `json:"exclude,omitempty"`
	// Variables to set, whatever the target has.
	Override map[string]string `json:"override,omitempty"`
}

// Default is an empty block: traffic is mirrored, everything else is the target's. It has no target.
func Default() Mirror {
	return Mirror{
		Pods:     PodsAll,
		Agent:    Agent{Kind: AgentAuto, Linger: 60},
		Incoming: Incoming{Mode: ModeMirror, Hold: Hold{Requests: 100, Seconds: 60}, OnExit: FailFallback, OnHang: FailFallback, Existing: ExistingKeep, Probes: ProbesTarget},
		Outgoing: Outgoing{TCP: true},
		DNS:      true,
		Hostname: true,
		Env:      Env{Include: []string{"*"}},
	}
}
