package capture

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// segment is one TCP segment. The tracker has one and decodes every packet into it.
type segment struct {
	tcp   layers.TCP
	hosts gopacket.Flow
	tuple tuple
	seen  time.Time
}

// GetCaptureInfo makes a segment the context that the assembler wants of a packet.
func (s *segment) GetCaptureInfo() gopacket.CaptureInfo {
	return gopacket.CaptureInfo{Timestamp: s.seen}
}

// opens says that the segment asks for a new connection.
func (s *segment) opens() bool { return s.tcp.SYN && !s.tcp.ACK && !s.tcp.RST }

// decode reads p into s. It reports false for what the target would not take either: what is cut short or corrupt.
func (s *segment) decode(p packet, now time.Time) bool {
	src, dst, payload, ok := splitIP(p.data)
	if !ok || !p.checked && !intact(src, dst, payload) {
		return false
	}
	if s.tcp.DecodeFromBytes(payload, gopacket.NilDecodeFeedback) != nil {
		return false
	}
	kind := layers.EndpointIPv4
	if len(src) == 16 {
		kind = layers.EndpointIPv6
	}
	from, _ := netip.AddrFromSlice(src)
	to, _ := netip.AddrFromSlice(dst)
	s.hosts = gopacket.NewFlow(kind, src, dst)
	s.tuple = tuple{
		from: netip.AddrPortFrom(from, uint16(s.tcp.SrcPort)),
		to:   netip.AddrPortFrom(to, uint16(s.tcp.DstPort)),
	}
	s.seen = now
	return true
}

// splitIP returns the addresses and the payload of an IP packet, without the padding of short Ethernet frames.
func splitIP(b []byte) (src, dst, payload []byte, ok bool) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
		if total == 0 {
			// A segment of more than 64 KiB (BIG TCP).
			total = len(b)
		}
		if header < 20 || total < header || total > len(b) {
			return nil, nil, nil, false
		}
		return b[12:16], b[16:20], b[header:total], true
	case len(b) >= ipv6Header && b[0]>>4 == 6:
		header, total := ipv6Header, ipv6Header+int(binary.BigEndian.Uint16(b[4:]))
		if b[ipv6Next] == hopByHop {
			header += jumboHeader
		}
		if total == ipv6Header {
			total = len(b)
		}
		if total < header || total > len(b) {
			return nil, nil, nil, false
		}
		return b[8:24], b[24:40], b[header:total], true
	}
	return nil, nil, nil, false
}

// intact checks the TCP checksum (RFC 9293 §3.1): the target drops a corrupt segment and takes its retransmission.
func intact(src, dst, payload []byte) bool {
	sum := uint64(protocolTCP) + uint64(len(payload))
	for _, b := range [][]byte{src, dst, payload} {
		for ; len(b) >= 2; b = b[2:] {
			sum += uint64(b[0])<<8 | uint64(b[1])
		}
		if len(b) == 1 {
			sum += uint64(b[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum == 0xffff
}
