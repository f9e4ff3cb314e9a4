// Package pod makes a pod on this machine for tests and the demo: a process with user, network, mount, pid and uts
// namespaces of its own, its own addresses, hostname, resolv.conf and a DNS server with names that exist only there.
// There is no route out of it. It needs Linux, and root only where user namespaces are not allowed.
//
// The pod's first process is the calling program itself: call [Main] first thing in main or TestMain.
package pod
