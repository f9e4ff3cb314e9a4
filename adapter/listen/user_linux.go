package listen

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

var errOtherUser = errors.New("the connection is of another user")

// sameUser returns nil when the other end of a loopback connection is a socket of this process's user. The kernel's list
// of sockets says whose it is: TCP has no SO_PEERCRED.
func sameUser(conn net.Conn) error {
	theirs, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return fmt.Errorf("read the editor's address: %w", err)
	}
	ours, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return fmt.Errorf("read our address: %w", err)
	}
	uid, err := socketOwner(theirs, ours)
	if err != nil {
		return err
	}
	if uid != os.Geteuid() {
		return fmt.Errorf("%w: uid %d", errOtherUser, uid)
	}
	return nil
}

// socketOwner looks for the socket that is bound to local and connected to remote. An IPv4 connection may be one of an
// IPv6 socket, which is in the other list.
func socketOwner(local, remote netip.AddrPort) (uid int, err error) {
	for _, list := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		v6 := strings.HasSuffix(list, "6")
		if !v6 && !local.Addr().Unmap().Is4() {
			continue
		}
		uid, found, err := ownerInList(list, kernelForm(local, v6), kernelForm(remote, v6))
		if err != nil || found {
			return uid, err
		}
	}
	return 0, fmt.Errorf("%w: its socket is not found", errOtherUser)
}

// ownerInList reads lines of proc_net_tcp: sl local remote state queues timer retransmits uid timeout inode. A socket that nobody
// holds any more has inode 0 and says nothing of its user.
func ownerInList(path, local, remote string) (uid int, found bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false, fmt.Errorf("list sockets: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[1] != local || fields[2] != remote || fields[9] == "0" {
			continue
		}
		uid, err := strconv.Atoi(fields[7])
		if err != nil {
			return 0, false, fmt.Errorf("list sockets: %w", err)
		}
		return uid, true, nil
	}
	return 0, false, lines.Err()
}

// kernelForm writes an address as /proc/net/tcp does: words of 32 bit in host order, and the port.
func kernelForm(a netip.AddrPort, v6 bool) string {
	var bytes []byte
	if v6 {
		as16 := a.Addr().As16()
		bytes = as16[:]
	} else {
		as4 := a.Addr().Unmap().As4()
		bytes = as4[:]
	}
	var words []byte
	for ; len(bytes) > 0; bytes = bytes[4:] {
		words = binary.BigEndian.AppendUint32(words, binary.NativeEndian.Uint32(bytes))
	}
	return strings.ToUpper(hex.EncodeToString(words)) + fmt.Sprintf(":%04X", a.Port())
}
