//go:build linux

package intercept

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// maxSockaddr is sizeof(struct sockaddr_storage): the kernel takes no longer one.
const maxSockaddr = 128

// Smallest lengths that the kernel takes (net/ipv4/af_inet.c; RFC 2133 has no scope id).
const (
	minInet4 = 16
	minInet6 = 24
)

// family is the address family of b, or -1.
func family(b []byte) int {
	if len(b) < 2 {
		return -1
	}
	return int(binary.NativeEndian.Uint16(b))
}

// parseSockaddr reads an IPv4 or IPv6 address; ok is false for everything that the kernel would not take as one.
// A mapped IPv4 address comes out as IPv4; a scope id is left out.
func parseSockaddr(b []byte) (ap netip.AddrPort, ok bool) {
	switch family(b) {
	case unix.AF_INET:
		if len(b) < minInet4 {
			return ap, false
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:])), true
	case unix.AF_INET6:
		if len(b) < minInet6 {
			return ap, false
		}
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])).Unmap(), binary.BigEndian.Uint16(b[2:])), true
	}
	return ap, false
}

// encodeSockaddr writes ap for a socket of the given family, IPv4 as a mapped address on AF_INET6. ok is false when
// the family cannot express it.
func encodeSockaddr(family int, ap netip.AddrPort) (b []byte, ok bool) {
	switch family {
	case unix.AF_INET:
		if !ap.Addr().Unmap().Is4() {
			return nil, false
		}
		b = make([]byte, 16)
		a := ap.Addr().Unmap().As4()
		copy(b[4:], a[:])
	case unix.AF_INET6:
		if !ap.Addr().IsValid() {
			return nil, false
		}
		b = make([]byte, 28)
		a := ap.Addr().As16()
		copy(b[8:], a[:])
	default:
		return nil, false
	}
	binary.NativeEndian.PutUint16(b, uint16(family))
	binary.BigEndian.PutUint16(b[2:], ap.Port())
	return b, true
}

// unixPath is the path of an AF_UNIX address, or "" for an abstract or unnamed one.
func unixPath(b []byte) string {
	if len(b) < 3 || b[2] == 0 {
		return ""
	}
	path, _, _ := strings.Cut(string(b[2:]), "\x00")
	return path
}

// readSockaddr reads an address of n bytes at ptr. ok is false when the kernel would refuse it unseen.
func (c *call) readSockaddr(ptr, n uint64, buf *[maxSockaddr]byte) (b []byte, err error) {
	if n > maxSockaddr || int32(uint32(n)) < 0 {
		return nil, unix.EINVAL
	}
	b = buf[:n]
	return b, c.read(ptr, b)
}

// writeSockaddr stores sa at ptr and its whole length at lenptr, cut to the room there is, as the kernel does.
func (c *call) writeSockaddr(ptr, lenptr uint64, sa []byte) error {
	var room int32
	if err := c.read(lenptr, bytesOf(&room)); err != nil {
		return unix.EFAULT
	}
	if room < 0 {
		return unix.EINVAL
	}
	if err := c.write(ptr, sa[:min(len(sa), int(room))]); err != nil {
		return unix.EFAULT
	}
	room = int32(len(sa))
	if err := c.write(lenptr, bytesOf(&room)); err != nil {
		return unix.EFAULT
	}
	return nil
}
