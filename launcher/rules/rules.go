// Package rules says whose an address is: the pod's or this machine's. It is pure; asking costs no system call.
package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// portDNS is where resolvers listen (RFC 1035 §4.2).
const portDNS = 53

// Config is what the user chose. The zero Config leaves everything to this machine.
type Config struct {
	// TCP : connections that are not local are made by the pod.
	TCP bool `json:"tcp,omitempty"`
	// DNS : every message to port 53, of whichever resolver, is answered by the pod.
	DNS bool `json:"dns,omitempty"`
	// Local lists destinations that stay on this machine: "192.168.0.0/16:5432", "192.168.0.0/16", "10.0.0.1:443",
	// "10.0.0.1", "[fd00::/8]:443", "fd00::1", ":443".
	Local []string `json:"local,omitempty"`
}

// Rules are parsed from a Config. The zero Rules leave everything to this machine.
type Rules struct {
	tcp, dns bool
	local    []exception
}

// exception is one entry of Config.Local. A zero port stands for all ports, an invalid prefix for all addresses.
type exception struct {
	prefix netip.Prefix
	port   uint16
}

// Parse checks c. The error names the first entry of Local that is no destination.
func Parse(c Config) (Rules, error) {
	r := Rules{tcp: c.TCP, dns: c.DNS}
	for _, s := range c.Local {
		e, err := parseException(s)
		if err != nil {
			return Rules{}, fmt.Errorf("local destination %q: %w", s, err)
		}
		r.local = append(r.local, e)
	}
	return r, nil
}

// TCP reports whether the pod makes a connection to dst.
func (r Rules) TCP(dst netip.AddrPort) bool {
	if r.DNS(dst) {
		return true
	}
	return r.tcp && !always(dst.Addr().Unmap()) && !slices.ContainsFunc(r.local, func(e exception) bool { return e.covers(dst) })
}

// UDP reports whether the pod answers a datagram to dst: only resolvers' are.
func (r Rules) UDP(dst netip.AddrPort) bool { return r.DNS(dst) }

// DNS reports whether dst is a resolver that the pod's resolver stands in for, a local stub such as 127.0.0.53 included.
func (r Rules) DNS(dst netip.AddrPort) bool { return r.dns && dst.Port() == portDNS }

// Resolver reports whether names are resolved by the pod, so that local short cuts round DNS have to be closed.
func (r Rules) Resolver() bool { return r.dns }

// Unreadable reports whether a connect must be refused when its process does not let us read the destination:
// whenever anything at all is the pod's, because the packets would else leave this machine.
func (r Rules) Unreadable() bool { return r.tcp || r.dns }

// always reports whether addr means this machine or its own link whatever the rules say.
func always(addr netip.Addr) bool {
	return addr.IsLoopback() || addr.IsUnspecified() || addr.IsLinkLocalUnicast() || addr.IsMulticast() ||
		addr == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func (e exception) covers(dst netip.AddrPort) bool {
	return (e.port == 0 || e.port == dst.Port()) && (!e.prefix.IsValid() || e.prefix.Contains(dst.Addr().Unmap().WithZone("")))
}

func parseException(s string) (exception, error) {
	if prefix, err := parsePrefix(s); err == nil {
		return exception{prefix: prefix}, nil
	}
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return exception{}, fmt.Errorf("neither an address nor a network")
	}
	port, err := strconv.ParseUint(s[colon+1:], 10, 16)
	if err != nil || port == 0 {
		return exception{}, fmt.Errorf("port %q is not between 1 and 65535", s[colon+1:])
	}
	host := s[:colon]
	if host == "" {
		return exception{port: uint16(port)}, nil
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host, ok = strings.CutSuffix(inner, "]")
		if !ok {
			return exception{}, fmt.Errorf("a bracket is missing")
		}
	} else if strings.Contains(host, ":") {
		return exception{}, fmt.Errorf("an IPv6 address with a port needs brackets")
	}
	prefix, err := parsePrefix(host)
	if err != nil {
		return exception{}, fmt.Errorf("neither an address nor a network")
	}
	return exception{prefix: prefix, port: uint16(port)}, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("not an address: %q", s)
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}
