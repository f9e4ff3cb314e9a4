package capture

import (
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
)

// maxPorts keeps the filter's jumps within their eight bits.
const maxPorts = 200

// wholePacket is a filter's verdict "take it"; the ring cuts what does not fit.
const wholePacket = 1 << 18

// Ethernet protocol numbers (linux/if_ether.h) and packet types (linux/if_packet.h).
const (
	etherIPv4  = 0x0800
	etherIPv6  = 0x86dd
	packetHost = 0
)

// Offsets in IP headers (RFC 791, RFC 8200). The socket is a SOCK_DGRAM one: a packet begins with its IP header.
const (
	ipv4Fragment = 6
	ipv4Protocol = 9
	ipv6Next     = 6
	ipv6Header   = 40
	protocolTCP  = 6

	// The one extension header that is looked behind: a segment of more than 64 KiB between two namespaces (BIG TCP) has a
	// hop-by-hop header of eight bytes with the jumbo length (RFC 2675).
	hopByHop    = 0
	jumboHeader = 8
)

// loopbackIndex is lo's in every network namespace (LOOPBACK_IFINDEX of net/flow.h).
const loopbackIndex = 1

// filter takes TCP packets to the ports that this host receives and that do not carry Mark. A TCP header behind other
// IPv6 extension headers than the jumbo length is not looked for, nor is any IP fragment but the first taken.
func filter(ports []Port) ([]bpf.RawInstruction, error) {
	if len(ports) == 0 || len(ports) > maxPorts {
		return nil, fmt.Errorf("%d ports, want 1 to %d: %w", len(ports), maxPorts, errors.ErrUnsupported)
	}
	// The program ends with one jump for each port, "drop", "take if it came over lo" and "take".
	const v6, jumbo, plain, first = 14, 17, 21, 22
	n := len(ports)
	drop := func(at int) uint8 { return uint8(first + n - at - 1) }
	program := []bpf.Instruction{
		0: bpf.LoadExtension{Num: bpf.ExtMark},
		1: bpf.JumpIf{Cond: bpf.JumpEqual, Val: Mark, SkipTrue: drop(1)},
		2: bpf.LoadExtension{Num: bpf.ExtType},
		3: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: packetHost, SkipTrue: drop(3)},
		4: bpf.LoadExtension{Num: bpf.ExtProto},
		5: bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherIPv6, SkipTrue: v6 - 5 - 1},
		6: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherIPv4, SkipTrue: drop(6)},

		7:  bpf.LoadAbsolute{Off: ipv4Protocol, Size: 1},
		8:  bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protocolTCP, SkipTrue: drop(8)},
		9:  bpf.LoadAbsolute{Off: ipv4Fragment, Size: 2},
		10: bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: drop(10)},
		11: bpf.LoadMemShift{Off: 0},
		12: bpf.LoadIndirect{Off: 2, Size: 2},
		13: bpf.Jump{Skip: first - 13 - 1},

		v6: bpf.LoadAbsolute{Off: ipv6Next, Size: 1},
		15: bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolTCP, SkipTrue: plain - 15 - 1},
		16: bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: hopByHop, SkipTrue: drop(16)},

		jumbo: bpf.LoadAbsolute{Off: ipv6Header, Size: 2},
		18:    bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protocolTCP << 8, SkipTrue: drop(18)},
		19:    bpf.LoadAbsolute{Off: ipv6Header + jumboHeader + 2, Size: 2},
		20:    bpf.Jump{Skip: first - 20 - 1},
		plain: bpf.LoadAbsolute{Off: ipv6Header + 2, Size: 2},
	}
	for i, port := range ports {
		// Over the remaining ports and "drop", and for all interfaces over the look at which it is.
		skip := n - i
		if !port.Loopback {
			skip += 2
		}
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(port.Number), SkipTrue: uint8(skip)})
	}
	program = append(program,
		bpf.RetConstant{Val: 0},
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: loopbackIndex, SkipTrue: 1},
		bpf.RetConstant{Val: wholePacket},
		bpf.RetConstant{Val: 0},
	)
	return bpf.Assemble(program)
}
