package launcher

import "syscall"

// ExitStatus is how a process ended.
type ExitStatus struct {
	// Code is its exit code; meaningless when Signal is set.
	Code int `json:"code"`
	// Signal ended it. If zero, it exited by itself.
	Signal syscall.Signal `json:"signal,omitempty"`
}
