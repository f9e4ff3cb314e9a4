//go:build linux

package role

import (
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// dial connects one after the other.
func dial(args []string) error {
	rounds, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var took []time.Duration
	for range rounds {
		began := time.Now()
		conn, err := net.Dial("tcp4", args[1])
		if err != nil {
			return err
		}
		took = append(took, time.Since(began))
		_ = conn.Close()
	}
	return print([][]time.Duration{took})
}

// names asks for the name of a unix socket, in so many threads at once.
func names(args []string) error {
	rounds, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	threads, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	began := time.Now()
	for range threads {
		all.Go(func() {
			for range rounds {
				_, _ = unix.Getsockname(fds[0])
			}
		})
	}
	all.Wait()
	return print([][]time.Duration{{time.Since(began) / time.Duration(rounds)}})
}
