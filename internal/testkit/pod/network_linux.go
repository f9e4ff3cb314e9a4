package pod

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// setUpLoopback brings lo up, which is what shows whether the pod's user namespace is good for anything, and gives it
// the pod's addresses.
func setUpLoopback(addresses []netip.Addr) error {
	if err := bringUp("lo"); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer conn.Close()
	for _, a := range addresses {
		if _, err := conn.Execute(newAddress(a, lo.Index)); err != nil {
			return fmt.Errorf("give the pod %s: %w", a, err)
		}
	}
	return nil
}

func bringUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifreq, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifreq.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifreq)
}

// newAddress is RTM_NEWADDR for one address alone (rtnetlink(7)): struct ifaddrmsg, then attributes.
func newAddress(a netip.Addr, index int) netlink.Message {
	family := byte(unix.AF_INET6)
	if a.Is4() {
		family = unix.AF_INET
	}
	body := []byte{family, byte(a.BitLen()), unix.IFA_F_NODAD, unix.RT_SCOPE_UNIVERSE}
	body = binary.NativeEndian.AppendUint32(body, uint32(index))
	for _, kind := range []uint16{unix.IFA_LOCAL, unix.IFA_ADDRESS} {
		body = binary.NativeEndian.AppendUint16(body, uint16(4+a.BitLen()/8))
		body = binary.NativeEndian.AppendUint16(body, kind)
		body = append(body, a.AsSlice()...)
	}
	return netlink.Message{
		Header: netlink.Header{Type: unix.RTM_NEWADDR, Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl},
		Data:   body,
	}
}
