package fault

import (
	"maps"
	"slices"
)

// ID numbers a kind of fault. 1xxx: the configuration, 2xxx: the target, 3xxx: the agent and the link, 4xxx: the debugger,
// 5xxx: the interception on the workstation, 6xxx: incoming traffic, 9xxx: podstep itself. An ID is never reused.
type ID int

// The catalogue's ids.
const (
	BadConfig        ID = 1001
	BadFile          ID = 1002
	BadUsage         ID = 1003
	NoTarget         ID = 2001
	TargetForbidden  ID = 2002
	TargetShared     ID = 2003
	TargetGone       ID = 2004
	NoCluster        ID = 2005
	Forbidden        ID = 2006
	NotReady         ID = 2007
	AgentMissing     ID = 3001
	AgentStart       ID = 3002
	AgentVersion     ID = 3003
	LinkLost         ID = 3004
	AgentImage       ID = 3005
	AgentRefused     ID = 3006
	AgentPending     ID = 3007
	DebuggerMissing  ID = 4001
	DebuggerStart    ID = 4002
	DebuggerLost     ID = 4003
	BuildFailed      ID = 4004
	UnknownDebugger  ID = 4005
	NotLinux         ID = 5001
	KernelLacks      ID = 5002
	LauncherMissing  ID = 5003
	LauncherFailed   ID = 5004
	PortTaken        ID = 6001
	SubscribeRefused ID = 6002
	StealDenied      ID = 6003
	FilterUnknown    ID = 6004
	TLSUnusable      ID = 6007
	TLSUnknown       ID = 6008
	NoSession        ID = 6010
	NoRequest        ID = 6011
	ReplayFailed     ID = 6012
	NotHeld          ID = 6013
	StealRevoked     ID = 6020
	NobodySteals     ID = 6021
	AskFailed        ID = 6022
	NotRevoked       ID = 6023
	Internal         ID = 9001
)

// Entry is what the catalogue says of an ID; docs/errors.md is made from it.
type Entry struct {
	// Title names the kind.
	Title string
	// Why says how it comes about.
	Why string
	// Hint is the default advice.
	Hint string
}

var catalogue = map[ID]Entry{
	BadConfig:        {"The configuration is not valid", "The launch configuration or its \"mirror\" block has unknown keys or values out of range.", "Run: podstep check FILE. It lists everything that is wrong, with line numbers."},
	BadFile:          {"A file cannot be read", "A file named on the command line does not exist, may not be read or is no JSON.", "Check the path and its permissions."},
	BadUsage:         {"The command line is not valid", "A flag or an argument is missing, unknown or out of range.", "See: podstep help COMMAND"},
	NoTarget:         {"The target does not exist", "There is no such process, workload, pod or container.", "Check \"target\" in the \"mirror\" block; podstep targets lists what a cluster has."},
	TargetForbidden:  {"The target may not be entered", "The process belongs to another user, or its namespaces may not be joined.", "Choose a process of your own, or run as its owner."},
	TargetShared:     {"The target has no network namespace of its own", "The process shares this machine's network, so borrowing its traffic would take the machine's.", "Choose a process in a container or in a network namespace of its own."},
	TargetGone:       {"The target ended", "The target's process ended while the session was running.", "Start it again, then start the session again."},
	NoCluster:        {"The cluster cannot be reached", "The kubeconfig has no usable context, its credentials were refused, or the API server does not answer.", "Try: kubectl get pods. podstep uses the same kubeconfig, context and namespace."},
	Forbidden:        {"A permission is missing in the cluster", "The API server refused a request of podstep for the user of the kubeconfig.", "Ask for the role that this prints: podstep rbac -n NAMESPACE"},
	NotReady:         {"No pod of the target is ready", "The workload has no pod at this moment, or none that is ready.", "See: podstep targets"},
	AgentMissing:     {"The agent's program is missing", "podstep-agent is looked for beside podstep, then on PATH.", "Install all three programs into one directory: make build."},
	AgentStart:       {"The agent could not start", "The agent's program ended before it greeted.", "Look at the agent's own words above."},
	AgentVersion:     {"The agent speaks another version", "A podstep of another major version holds the agent of this target.", "Use the same major version as the holder, or wait until that session ends."},
	LinkLost:         {"The link to the agent was lost", "The agent was ended or the transport broke; the target serves by itself again.", "Start the session again."},
	AgentImage:       {"The agent's image cannot be run", "The node could not pull the image, or what it pulled does not run there.", "Make the image available to the cluster and name it in \"agent\": {\"image\": ...}."},
	AgentRefused:     {"The cluster does not admit the agent", "Pod Security or an admission policy of the namespace refused what the agent needs for this session.", "Leave away what needs it (\"incoming\": {\"mode\": \"off\"} needs no capability), or let the agent run elsewhere: \"agent\": {\"kind\": \"job\", \"namespace\": ...}."},
	AgentPending:     {"The agent did not start in time", "The agent's container or pod was created and did not come to run.", "See the cause: podstep doctor and the pod's events say more."},
	DebuggerMissing:  {"The debugger is not installed", "The debugger's program was not found.", "Install it, or give its path in the launch configuration."},
	DebuggerStart:    {"The debugger could not start", "The debugger ended or did not answer before the session began.", "Look at the debugger's own words above."},
	DebuggerLost:     {"The debugger ended unexpectedly", "The debugger crashed or was killed.", "Start the session again."},
	BuildFailed:      {"The program does not build", "The compiler's errors are shown above.", "Mend the errors and press F5 again."},
	UnknownDebugger:  {"The debugger is not known", "\"debugger\" names a debugger that podstep does not wrap.", "Use one of: dlv, debugpy."},
	NotLinux:         {"The workstation is not Linux", "podstep intercepts the debuggee by means of the Linux kernel.", "Run the editor's backend on Linux: WSL2, Remote SSH or a dev container."},
	KernelLacks:      {"The kernel lacks what the interception needs", "seccomp user notification with ADDFD_SEND (Linux 5.14) and pidfd_getfd are needed; some sandboxes forbid them.", "Use a kernel of 5.14 or later; in a container allow seccomp and add SYS_PTRACE."},
	LauncherMissing:  {"The launcher's program is missing", "podstep-launch is looked for beside podstep, then on PATH.", "Install all three programs into one directory: make build."},
	LauncherFailed:   {"The debuggee could not be started under interception", "The launcher ended before the debuggee ran.", "Look at the launcher's own words above."},
	PortTaken:        {"The port is stolen by another session", "Sessions of one agent share a port by filters that no request can match both of; each session with a process of this machine has an agent of its own.", "Ask the holder, use \"incoming\": {\"mode\": \"mirror\"}, or choose another port. Where the message names the holder's filter, one that excludes it will do, too."},
	SubscribeRefused: {"The agent cannot take the port's traffic", "The agent lacks a capability or the kernel lacks nf_tables with tproxy.", "See the cause; mirroring needs NET_RAW, stealing NET_ADMIN."},
	StealDenied:      {"Stealing is not allowed here", "The annotation podstep.dev/steal of the namespace or of the workload denies it, or allows only filtered steals.", "Use \"incoming\": {\"mode\": \"mirror\"} or \"filter\", as the annotation allows, or ask whoever set it."},
	FilterUnknown:    {"The agent is too old to filter", "An agent of an older podstep stands beside the target. It would ignore \"filter\" and take everybody's requests.", "Wait until the sessions that use that agent have ended (podstep doctor names them), or remove it; the next session starts one that filters."},
	TLSUnusable:      {"The TLS of the port cannot be taken off", "A file of \"tls\" is not there or may not be read, or a key does not belong to its certificate.", "Check the paths of \"tls\": they are in the target's container, or with \"from\": \"workstation\" on this machine. Files of the target that the agent may not read can be given in this way."},
	TLSUnknown:       {"The agent is too old to take TLS off", "An agent of an older podstep stands beside the target. It would ignore \"tls\".", "Wait until the sessions that use that agent have ended (podstep doctor names them), or remove it; the next session starts one that can."},
	NoSession:        {"There is no such session", "No session of this user runs on this machine, or none that --session names.", "Start one in the editor or by podstep run; podstep requests lists what comes to all of them."},
	NoRequest:        {"The session has no such request", "A session keeps its last requests only, and each session numbers its own.", "See: podstep requests"},
	ReplayFailed:     {"The request was not answered again", "A request is replayed to the program of the session on this machine, and never to the target.", "See the cause; does the program still listen?"},
	NotHeld:          {"The request is not held", "A rule with \"break\" holds requests until somebody releases them, their time is over or their client is gone.", "See: podstep requests. What is held says so under WENT TO."},
	StealRevoked:     {"An administrator took the right to steal away", "The annotation podstep.dev/revoked of a pod names this session, or everybody until a certain time.", "Talk to whoever did, use \"incoming\": {\"mode\": \"mirror\"}, or wait until the time that is named."},
	NobodySteals:     {"Nobody steals there", "No session steals requests of the target, or none that --session and --port choose.", "See who borrows what: podstep targets"},
	AskFailed:        {"Nobody could be asked", "The agent beside the target does not pass the question on: it is of an older podstep, or the same session was asked a moment ago.", "Talk to the holder, whom podstep targets names."},
	NotRevoked:       {"A session steals on", "The annotation podstep.dev/revoked was written, and the session does not obey: its podstep is older or changed, or it cannot see the pod at this moment.", "Delete the pod, or the agent's job: that ends every session there."},
	Internal:         {"Something unexpected happened", "This is a defect of podstep.", "Please report it with the debug log."},
}

// IDs lists the catalogue in order.
func IDs() []ID { return slices.Sorted(maps.Keys(catalogue)) }

// Lookup returns the catalogue's entry for id, and whether there is one.
func Lookup(id ID) (Entry, bool) {
	e, ok := catalogue[id]
	return e, ok
}
