//go:build linux

package e2e

import (
	"fmt"
	"testing"

	"podstep.dev/internal/testkit/visit"
)

// The load on one connection.
const (
	streamLoad   = 6000
	streamAtOnce = 24
)

// TestStreamsOfOneConnectionAreShared : of one connection of HTTP/2 each session has the streams with its own header and the target the
// others. None is lost, comes twice or goes to another.
func TestStreamsOfOneConnectionAreShared(t *testing.T) {
	t.Parallel()
	s := &sharing{stage: newStage(t)}
	s.pods = s.deploy(shop{command: []string{"/visitor", "tally", "80", "target"}})
	s.service("shop", "shop")
	s.asker = s.start("pod", shop{name: "asker", command: []string{"/visitor", "wait"}})[0]
	parties := []string{"", "alice", "bob", "carol"}
	for _, party := range parties[1:] {
		g, local := &guest{name: party}, fmt.Sprint(freePort(t))
		s.guests = append(s.guests, g)
		s.guest(g, "--target", "deployment/shop", "--steal", "80:"+local, "--filter", string(marshal(byParty(party))), "--", s.visitor(), "tally", local, party)
	}
	answers := func(party string) string {
		if party == "" {
			return "target"
		}
		return party
	}
	serve := func(shares visit.Shares) bool {
		for _, share := range shares.Shares {
			if share.By[answers(share.Party)] != 3 {
				return false
			}
		}
		return true
	}
	s.eventually("all sessions serve", func() bool { return serve(s.load("get", "h2c://shop", 3*len(parties), 1, parties...)) })
	shares := s.load("post", "h2c://shop", streamLoad, streamAtOnce, parties...)
	if shares.Dialled != 1 {
		t.Errorf("%d connections were made, want one", shares.Dialled)
	}
	t.Logf("%d requests in %v on one connection", streamLoad, shares.Took)
	seen := [][]int{s.seen("http://"+s.pods[0].Status.PodIP, "-")}
	for i, share := range shares.Shares {
		want := numbers(streamLoad, i, len(parties))
		t.Logf("%-8s answered by %v; p50 %v, p99 %v", "“"+share.Party+"”", share.By, round(share.P50), round(share.P99))
		if share.By[answers(share.Party)] != want || share.Failed > 0 {
			t.Errorf("of %d requests of %q, %s was to answer all: %+v", want, share.Party, answers(share.Party), share)
		}
		if i > 0 {
			seen = append(seen, s.seen("http://shop", share.Party))
		}
	}
	for i, got := range seen {
		if want := numbers(streamLoad, i, len(parties)); len(got) != want {
			t.Errorf("%q had %d requests, want %d", parties[i], len(got), want)
		}
		for n, id := range got {
			if id != i+n*len(parties) {
				t.Errorf("%q had request %d, or had it twice", parties[i], id)
				break
			}
		}
	}
	s.leave(s.guests)
	s.cleared()
}
