package borrow

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/control"
	"podstep.dev/internal/wire"
)

func TestThePersonHearsWhatAFilterCannotRead(t *testing.T) {
	a := newPlace(t, "pod/web-0")
	s := mustBegin(t, newTarget(a), func(m *config.Mirror) {
		m.Incoming.Filter, m.Incoming.Ports = declared(t, `{"path":"/a"}`), map[uint16]uint16{80: 8080}
	})
	var server *control.Server
	a.set(func() { server = a.server })
	before := len(s.lines())
	for _, p := range []wire.UnreadParams{
		{ID: 1, Connections: map[wire.Unread]uint64{wire.UnreadTLS: 3}},
		{ID: 1, Connections: map[wire.Unread]uint64{wire.UnreadTLS: 20, wire.UnreadOdd: 1}},
		{ID: 9, Connections: map[wire.Unread]uint64{wire.UnreadTLS: 1000}},
		{ID: 1, Connections: map[wire.Unread]uint64{wire.UnreadTLS: 17, "later": 2}},
	} {
		if err := server.Unread(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	s.saysSoon("2 connections to port 80 of pod/web-0 are unclear, which a filter cannot read: they stay the target's")
	want := []string{
		"3 connections to port 80 of pod/web-0 are TLS, which a filter cannot read: they stay the target's",
		"1 connection to port 80 of pod/web-0 has a message that is no proper HTTP/1, which a filter cannot read: it stays the target's",
		"2 connections to port 80 of pod/web-0 are unclear, which a filter cannot read: they stay the target's",
		"40 connections to port 80 of pod/web-0 are TLS, which a filter cannot read: they stay the target's",
	}
	got := s.lines()[before:]
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnreadConnectionsOfAMirrorAreNotCopied(t *testing.T) {
	want := "1 connection to port 80 of pod/a began before the session, which a filter cannot read: it is not copied"
	if got := sayUnread(1, wire.UnreadOld, "port 80 of pod/a", config.ModeMirror); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestConnectionsThatExistedAreSaidOnce(t *testing.T) {
	a, b := newPlace(t, "pod/a"), newPlace(t, "pod/b")
	a.existing, b.existing = 2, 3
	target := newTarget(a, b)
	s := mustBegin(t, target, func(m *config.Mirror) { m.Incoming.Ports = map[uint16]uint16{80: 8080, 81: 8081} })
	for _, port := range []string{"80", "81"} {
		s.saysSoon("5 connections to port " + port + " existed before and stay with the target")
	}
	// A link that comes back counts nothing again, a place that comes does.
	a.drop()
	s.saysSoon("pod/a is back after ")
	c := newPlace(t, "pod/c")
	c.existing = 1
	target.sets <- []place.Place{a, b, c}
	for _, port := range []string{"80", "81"} {
		s.saysSoon("1 connection to port " + port + " of pod/c existed before and stays with the target")
	}
	said := slices.DeleteFunc(s.lines(), func(line string) bool { return !strings.Contains(line, "existed before") })
	if len(said) != 4 {
		t.Errorf("said %q", said)
	}
}
