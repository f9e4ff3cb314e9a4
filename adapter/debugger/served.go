package debugger

import (
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Served is what a debugger tells of the request that a thread works on.
type Served struct {
	// Peer is the other end of the request's connection, as the debuggee sees it.
	Peer netip.AddrPort
	// Stream of HTTP/2, 0 when that is not known.
	Stream uint32
	// Path is what the client asked for, without the query, as it was sent or decoded; empty when that is not known. If Cut, it goes on.
	Path string
	Cut  bool
}

// The forms in which debuggers show values.
var (
	quoted        = regexp.MustCompile(`^["'](.*)["']$`)
	goAddress     = regexp.MustCompile(`IP: net\.IP len: \d+, cap: \d+, \[([\d,]+)\], Port: (\d+)`) // *net.TCPAddr
	pythonSocket  = regexp.MustCompile(`\bladdr=\(.*?\)`)                                           // its own end comes first
	pythonAddress = regexp.MustCompile(`[(\[]["']([0-9A-Fa-f:.]+)(?:%\w+)?["'], ["']?(\d+)\b`)
	pythonPath    = regexp.MustCompile(`, ["'](?:[A-Z]+ )?(/.*?)(?: HTTP/[\d.]+)?["']\)$`) // or a request line, at a tuple's end
	number        = regexp.MustCompile(`^\d+`)
)

// ReadPeer reads the value of a clue's Peer, and reports whether it is one.
func ReadPeer(value string) (s Served, ok bool) {
	switch {
	case goAddress.MatchString(value):
		m := goAddress.FindStringSubmatch(value)
		ip, _ := netip.AddrFromSlice(octets(m[1])) // one that is none is no address below
		s.Peer = addrPort(ip, m[2])
	case quoted.MatchString(value):
		s.Peer, _ = netip.ParseAddrPort(quoted.FindStringSubmatch(value)[1])
	default:
		value = pythonSocket.ReplaceAllString(value, "")
		m := pythonAddress.FindStringSubmatch(value)
		if m == nil {
			return s, false
		}
		ip, _ := netip.ParseAddr(m[1])
		s.Peer = addrPort(ip, m[2])
		if m := pythonPath.FindStringSubmatch(value); m != nil {
			s.setPath(m[1])
		}
	}
	s.Peer = Plain(s.Peer)
	return s, s.Peer.IsValid()
}

// ReadStream reads the value of a clue's Stream.
func (s *Served) ReadStream(value string) {
	if n, err := strconv.ParseUint(number.FindString(value), 10, 32); err == nil {
		s.Stream = uint32(n)
	}
}

// ReadPath reads the value of a clue's Path.
func (s *Served) ReadPath(value string) {
	if text, err := strconv.Unquote(value); err == nil {
		s.setPath(text)
	} else if m := quoted.FindStringSubmatch(value); m != nil {
		s.setPath(m[1])
	}
}

// setPath takes what the client asked for. Of long text debuggers show the beginning, and dots.
func (s *Served) setPath(target string) {
	s.Path, _, _ = strings.Cut(target, "?")
	s.Path, _, s.Cut = strings.Cut(s.Path, "...")
}

// Asked reports whether the client can have asked for that path.
func (s Served) Asked(path string) bool {
	fits := func(path string) bool { return s.Path == path || s.Cut && strings.HasPrefix(path, s.Path) }
	decoded, err := url.PathUnescape(path)
	return s.Path == "" || fits(path) || err == nil && fits(decoded)
}

func octets(list string) (ip []byte) {
	for text := range strings.SplitSeq(list, ",") {
		b, _ := strconv.ParseUint(text, 10, 8) // debuggers show bytes
		ip = append(ip, byte(b))
	}
	return ip
}

func addrPort(ip netip.Addr, port string) netip.AddrPort {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip, uint16(n))
}

// Plain is an address as everybody writes it: not an IPv4 one as IPv6, and without a zone.
func Plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
