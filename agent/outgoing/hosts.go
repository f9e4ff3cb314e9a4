package outgoing

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// hosts maps names, as [key] makes them, to addresses (hosts(5)).
type hosts map[string][]netip.Addr

// localhost is what every host knows without being told (RFC 6761 §6.3).
func localhost() hosts {
	return hosts{"localhost": {netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}}
}

// key is a name as hosts has it: lower case, without the last dot.
func key(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func parseHosts(text string) hosts {
	table := hosts{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		address, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			if k := key(name); !slices.Contains(table[k], address) {
				table[k] = append(table[k], address)
			}
		}
	}
	return table
}

// answer returns the records for a question and whether the table knows the name. A known name without an address of
// the family has no records: the nameservers are not asked for more.
func (h hosts) answer(q dns.Question) ([]dns.RR, bool) {
	if q.Qtype == dns.TypePTR {
		return h.reverse(q)
	}
	addresses, ok := h[key(q.Name)]
	if !ok || (q.Qtype != dns.TypeA && q.Qtype != dns.TypeAAAA) {
		return nil, false
	}
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: ownTTL}
	var records []dns.RR
	for _, a := range addresses {
		switch {
		case a.Is4() && q.Qtype == dns.TypeA:
			records = append(records, &dns.A{Hdr: header, A: a.AsSlice()})
		case a.Is6() && q.Qtype == dns.TypeAAAA:
			records = append(records, &dns.AAAA{Hdr: header, AAAA: a.WithZone("").AsSlice()})
		}
	}
	return records, true
}

// reverse answers a PTR question by the names of the address that is asked for.
func (h hosts) reverse(q dns.Question) ([]dns.RR, bool) {
	var names []string
	for name, addresses := range h {
		for _, a := range addresses {
			if r, err := dns.ReverseAddr(a.WithZone("").String()); err == nil && strings.EqualFold(r, q.Name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	header := dns.RR_Header{Name: q.Name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: ownTTL}
	var records []dns.RR
	for _, name := range names {
		records = append(records, &dns.PTR{Hdr: header, Ptr: dns.Fqdn(name)})
	}
	return records, len(records) > 0
}
