// Package launcher puts the debuggee under interception and ends it with the session.
//
// For the adapter it is two things: [Listen] serves the debuggees that `podstep-launch exec` becomes, and [Start] runs
// a program below a keeper that ends the whole tree, double forks included, when this process dies. For podstep-launch
// it is the other ends of both: [Exec] and [Keep].
//
// A debuggee's notifications are answered in the nearest ancestor that is ours: in this process when it started the
// tree, else in the launcher's parent half, which speaks to this process by streams. It decides nothing about
// addresses (launcher/rules) and knows no syscall (launcher/intercept).
package launcher
