package debugger

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestReadPeerReadsWhatDebuggersShow : the values are those that dlv 1.27 and debugpy 1.8 gave for the clues.
func TestReadPeerReadsWhatDebuggersShow(t *testing.T) {
	four, six := netip.MustParseAddrPort("10.42.0.9:50228"), netip.MustParseAddrPort("[fd00:42::7]:81")
	for value, want := range map[string]Served{
		`"10.42.0.9:50228"`: {Peer: four},
		`"[fd00:42::7]:81"`: {Peer: six},
		`net.Addr(*net.TCPAddr) *{IP: net.IP len: 16, cap: 16, [0,0,0,0,0,0,0,0,0,0,255,255,10,42,0,9], Port: 50228, Zone: ""}`: {Peer: four},
		`net.Addr(*net.TCPAddr) *{IP: net.IP len: 4, cap: 4, [10,42,0,9], Port: 50228, Zone: ""}`:                               {Peer: four},
		`net.Addr(*net.TCPAddr) *{IP: net.IP len: 16, cap: 16, [253,0,0,66,0,0,0,0,0,0,0,0,0,0,0,7], Port: 81, Zone: ""}`:       {Peer: six},
		`(('10.42.0.9', 50228), 'GET /a/b?c=d HTTP/1.1')`:                                                                       {Peer: four, Path: "/a/b"},
		`(('10.42.0.9', 50228), "GET /it's HTTP/1.1")`:                                                                          {Peer: four, Path: "/it's"},
		`(('10.42.0.9', 50228), 'GET /aaaaaaaa...aaaaaaaaa HTTP/1.1')`:                                                          {Peer: four, Path: "/aaaaaaaa", Cut: true},
		`(('fd00:42::7', 81, 0, 0), 'GET /a HTTP/1.1')`:                                                                         {Peer: six, Path: "/a"},
		`('::ffff:10.42.0.9', 50228, 0, 0)`:                                                                                     {Peer: four},
		`('10.42.0.9', 50228)`:                                                                                                  {Peer: four},
		`('10.42.0.9', '50228')`:                                                                                                {Peer: four},
		`('10.42.0.9', '50228', '/a')`:                                                                                          {Peer: four, Path: "/a"},
		`(('10.42.0.9', 50228), '/a b')`:                                                                                        {Peer: four, Path: "/a b"},
		`(<socket.socket fd=5, family=2, type=1, proto=0, laddr=('10.42.0.7', 8080), raddr=('10.42.0.9', 50228)>, '/a/b')`:      {Peer: four, Path: "/a/b"},
		`(None, '/a')`:         {},
		`['10.42.0.9', 50228]`: {Peer: four},
		`<socket.socket fd=5, family=2, type=1, proto=0, laddr=('10.42.0.7', 8080), raddr=('10.42.0.9', 50228)>`: {Peer: four},
		`<socket.socket fd=5, family=2, type=1, proto=0, laddr=('10.42.0.7', 8080)>`:                             {},
		`""`:                   {},
		`"192.0.2.1"`:          {}, // of a proxy's header: without a port it is nobody's connection
		`None`:                 {},
		`('', 7)`:              {},
		`('10.42.0.9', 70000)`: {},
		`"10.42.0.9:50228" `:   {},
	} {
		got, ok := ReadPeer(value)
		if ok != want.Peer.IsValid() {
			t.Errorf("%s: %v", value, ok)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); ok && diff != "" {
			t.Errorf("%s: %s", value, diff)
		}
	}
}

func TestServedReadsTheRest(t *testing.T) {
	for value, path := range map[string]string{`"/a/b?c=d"`: "/a/b", `'/a'`: "/a", `"/\u00fc"`: "/ü", `None`: "", `nil`: ""} {
		var s Served
		if s.ReadPath(value); s.Path != path || s.Cut {
			t.Errorf("%s is read as %+v", value, s)
		}
	}
	for value, stream := range map[string]uint32{"7 = 0x7": 7, "7": 7, "nil": 0, "99999999999": 0} {
		var s Served
		if s.ReadStream(value); s.Stream != stream {
			t.Errorf("%s is read as stream %d", value, s.Stream)
		}
	}
	var s Served
	s.ReadPath(`"/aa...+12 more"`)
	if !s.Asked("/aaa") || !s.Asked("/aa") || s.Asked("/ab") || !(Served{}).Asked("/x") || !(Served{Path: "/a b"}).Asked("/a%20b") || (Served{Path: "/a"}).Asked("/ab") {
		t.Errorf("%+v is compared wrongly", s)
	}
}

func TestACluesFrame(t *testing.T) {
	for _, c := range []struct {
		frame, name string
		in          bool
	}{
		{"http.(*conn).serve", "http.(*conn).serve", true}, {"http.(*conn).serve", "http.(*conn).serve.func1", false},
		{"do_*", "do_GET", true}, {"do_*", "undo_GET", false},
	} {
		if got := (Clue{Frame: c.frame}).In(c.name); got != c.in {
			t.Errorf("%s in %s: %v", c.frame, c.name, got)
		}
	}
}
