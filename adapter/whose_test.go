package adapter

import (
	"net/netip"
	"slices"
	"testing"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/debugger"
)

func TestCandidatesAreTheRequestsThatAThreadCanHave(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.42.0.9:1"), netip.MustParseAddrPort("10.42.0.9:2")
	request := func(id uint64, peer netip.AddrPort, stream uint32, path string) requests.Entry {
		e := requests.Entry{Seen: requests.Seen{Peer: peer, Stream: stream}}
		e.ID, e.Path = id, path
		return e
	}
	mapped := netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
	http1 := []requests.Entry{request(1, b, 0, "/x"), request(2, a, 0, "/x"), request(3, a, 0, "/y"), request(4, netip.AddrPort{}, 0, "/x")}
	http2 := []requests.Entry{request(1, a, 1, "/x"), request(2, b, 1, "/x"), request(3, a, 3, "/x"), request(4, a, 5, "/y")}
	for name, c := range map[string]struct {
		served debugger.Served
		inside []requests.Entry
		want   []uint64
	}{
		"nothing is known":                       {debugger.Served{}, http1, nil},
		"one of a connection":                    {debugger.Served{Peer: b}, http1, []uint64{1}},
		"pipelined: the oldest":                  {debugger.Served{Peer: a, Path: "/x"}, http1, []uint64{2}},
		"pipelined: not one that waits":          {debugger.Served{Peer: a, Path: "/y"}, http1, nil},
		"somebody else's":                        {debugger.Served{Peer: netip.MustParseAddrPort("127.0.0.1:1")}, http1, nil},
		"the debuggee sees IPv4 as IPv6":         {debugger.Served{Peer: a}, []requests.Entry{request(1, mapped, 0, "/x")}, []uint64{1}},
		"what was answered and still goes on":    {debugger.Served{Peer: b, Path: "/before"}, http1, nil},
		"a stream":                               {debugger.Served{Peer: a, Stream: 3, Path: "/x"}, http2, []uint64{3}},
		"a stream that is over":                  {debugger.Served{Peer: a, Stream: 7, Path: "/x"}, http2, nil},
		"a stream of another path":               {debugger.Served{Peer: a, Stream: 3, Path: "/y"}, http2, nil},
		"a stream without its number":            {debugger.Served{Peer: a, Path: "/y"}, http2, []uint64{4}},
		"one of several streams: all of them":    {debugger.Served{Peer: a, Path: "/x"}, http2, []uint64{1, 3, 4}},
		"the only stream, and nothing but peers": {debugger.Served{Peer: b}, http2, []uint64{2}},
		"a long path of which a part is shown":   {debugger.Served{Peer: b, Path: "/", Cut: true}, http2, []uint64{2}},
	} {
		var got []uint64
		for _, e := range candidates(c.served, c.inside) {
			got = append(got, e.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestTheScopeOfManyRequestsIsWhole : what is shown can be looked at, however many requests are inside.
func TestTheScopeOfManyRequestsIsWhole(t *testing.T) {
	var entries []requests.Entry
	for id := range uint64(3 * keptSlots) {
		e := requests.Entry{Seen: requests.Seen{Peer: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(id))}}
		e.ID = id + 1
		entries = append(entries, e)
	}
	var i inside
	i.put(entries)
	list, ok := i.variables(i.scope(nil, false).VariablesReference)
	if !ok || len(list) != len(entries) || list[0].Name != "#1" {
		t.Errorf("%d of %d are listed, %v", len(list), len(entries), list[:1])
	}
	told := i.scope(entries[:1], true)
	if list, ok := i.variables(told.VariablesReference); !ok || told.Name != "Request" || len(list) != 1 || list[0].Name != "#1" {
		t.Errorf("the oldest is %+v: %v", told, list)
	}
	i.put(entries[:1])
	if len(i.slots) > keptSlots+1 {
		t.Errorf("%d are kept that are over", len(i.slots))
	}
}
