//go:build linux

package incoming

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// stateEstablished is a connection's in /proc/net/tcp (kernel, include/net/tcp_states.h).
const stateEstablished = "01"

// Existing counts the connections to a port that others have made to the target's own listener: those of the network namespace
// that the calling thread is in, without the agent's. A connection that the agent made there itself has one end in the target
// for each of its own, which does not count either.
func Existing(port uint16) (int, error) {
	own, err := ownSockets()
	if err != nil {
		return 0, err
	}
	n := 0
	for _, name := range []string{"tcp", "tcp6"} {
		table, err := os.ReadFile("/proc/thread-self/net/" + name)
		if os.IsNotExist(err) {
			// Without IPv6.
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("count connections: %w", err)
		}
		established(bytes.NewReader(table), func(local, remote uint16, inode string) {
			switch ours := own[inode]; {
			case !ours && local == port:
				n++
			case ours && remote == port && local != port:
				n--
			}
		})
	}
	return max(n, 0), nil
}

// established reads a table of connections as the kernel writes it (kernel, Documentation/networking/proc_net_tcp.rst).
func established(table io.Reader, each func(local, remote uint16, inode string)) {
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[3] != stateEstablished {
			continue
		}
		each(portOf(f[1]), portOf(f[2]), f[9])
	}
}

// portOf is the port of "0100007F:0050".
func portOf(address string) uint16 {
	_, digits, _ := strings.Cut(address, ":")
	port, err := strconv.ParseUint(digits, 16, 16)
	if err != nil {
		return 0
	}
	return uint16(port)
}

// ownSockets are the inodes of the agent's sockets.
func ownSockets() (map[string]bool, error) {
	const dir = "/proc/self/fd"
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list own sockets: %w", err)
	}
	own := map[string]bool{}
	for _, file := range files {
		// One that was closed meanwhile is of no interest.
		name, _ := os.Readlink(filepath.Join(dir, file.Name()))
		if inode, ok := strings.CutPrefix(name, "socket:["); ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return own, nil
}
