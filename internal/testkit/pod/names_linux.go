package pod

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// zone are the names that the pod's DNS server knows, absolute and in lower case.
type zone map[string]netip.Addr

func (s *setup) zone() zone {
	z := zone{}
	for name, a := range s.Names {
		if !strings.Contains(name, ".") && len(s.Search) > 0 {
			name += "." + s.Search[0]
		}
		z[strings.ToLower(dns.Fqdn(name))] = a
	}
	return z
}

// serveNames answers on port 53 of address, over UDP and TCP, as long as the process lives.
func serveNames(address netip.Addr, z zone) error {
	at := net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, 53))
	packets, err := net.ListenUDP("udp", at)
	if err != nil {
		return fmt.Errorf("serve names: %w", err)
	}
	listener, err := net.Listen("tcp", at.String())
	if err != nil {
		return fmt.Errorf("serve names: %w", err)
	}
	go func() { _ = (&dns.Server{PacketConn: packets, Handler: z}).ActivateAndServe() }()
	go func() { _ = (&dns.Server{Listener: listener, Handler: z}).ActivateAndServe() }()
	return nil
}

// ServeDNS answers one question: the address, an empty answer where the name has none of that family, or NXDOMAIN.
func (z zone) ServeDNS(w dns.ResponseWriter, asked *dns.Msg) {
	answer := new(dns.Msg).SetReply(asked)
	answer.Authoritative = true
	for _, q := range asked.Question {
		a, known := z[strings.ToLower(q.Name)]
		header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 5}
		switch {
		case !known:
			answer.Rcode = dns.RcodeNameError
		case q.Qtype == dns.TypeA && a.Is4():
			answer.Answer = append(answer.Answer, &dns.A{Hdr: header, A: a.AsSlice()})
		case q.Qtype == dns.TypeAAAA && a.Is6():
			answer.Answer = append(answer.Answer, &dns.AAAA{Hdr: header, AAAA: a.AsSlice()})
		}
	}
	_ = w.WriteMsg(answer)
}
