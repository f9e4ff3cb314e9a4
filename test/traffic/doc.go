// Package traffic tests what a client sees, through the agent's and the adapter's real halves joined by a link in one process: every policy
// with every kind of request and everything that can happen to a debuggee.
package traffic
