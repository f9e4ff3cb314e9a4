//go:build linux

package redirect

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// loopbackIndex is lo's in every network namespace (LOOPBACK_IFINDEX of net/flow.h).
const loopbackIndex = 1

// TCP header offsets in bytes and flags (RFC 9293 §3.1).
const (
	offsetDestination = 2
	offsetFlags       = 13
	flagsOfSYN        = 0x02
	flagsSeen         = 0x17 // ACK, RST, SYN, FIN
)

// leastShown to mostShown are the ports that passthrough connections show beside a client's address. They are below those that clients
// choose from (32768, net.ipv4.ip_local_port_range; 49152 elsewhere, RFC 6335 §6): a diverted connection of the client's with the same
// port would be the same one to the kernel, which then has two sockets for it.
const leastShown, mostShown = 1024, 32767

// acceptMark lets passthrough connections go by.
func acceptMark() []expr.Any {
	return append(markIs(Mark), &expr.Verdict{Kind: expr.VerdictAccept})
}

// divert sends the SYNs to a port in stolen of this host to the listener at to; with loopback only those that arrive
// over lo.
func divert(stolen *nftables.Set, to netip.AddrPort, loopback bool) []expr.Any {
	family := familyOf(to.Addr())
	rule := familyIs(family)
	if loopback {
		rule = append(rule, &expr.Meta{Key: expr.MetaKeyIIF, Register: 1}, equal(native(loopbackIndex)...))
	}
	rule = append(rule,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal(unix.IPPROTO_TCP),
		// What is only forwarded is nobody's here.
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true}, equal(native(unix.RTN_LOCAL)...),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offsetFlags, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{flagsSeen}, Xor: []byte{0}}, equal(flagsOfSYN),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offsetDestination, Len: 2},
		&expr.Lookup{SourceRegister: 1, SetName: stolen.Name, SetID: stolen.ID},
		&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(to.Port())},
	)
	tproxy := &expr.TProxy{Family: family, TableFamily: byte(nftables.TableFamilyINet), RegAddr: 1, RegPort: 2}
	return append(rule, tproxy, &expr.Verdict{Kind: expr.VerdictAccept})
}

// showClient gives passthrough connections of one family the source address that clients has for their socket priority,
// and entry as their mark in conntrack.
func showClient(clients *nftables.Set, family byte, entry uint32) []expr.Any {
	rule := append(markIs(Mark), familyIs(family)...)
	return append(rule,
		&expr.Immediate{Register: 1, Data: native(entry)},
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true},
		&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: 1},
		&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: clients.Name, SetID: clients.ID},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(leastShown)},
		&expr.Immediate{Register: 3, Data: binaryutil.BigEndian.PutUint16(mostShown)},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: uint32(family), RegAddrMin: 1, RegProtoMin: 2, RegProtoMax: 3, Specified: true},
	)
}

func markIs(mark uint32) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, equal(native(mark)...)}
}

func familyIs(family byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, equal(family)}
}

func equal(data ...byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }

func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func familyOf(a netip.Addr) byte {
	if a.Is4() {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}
