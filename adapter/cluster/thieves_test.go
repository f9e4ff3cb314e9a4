package cluster

import (
	"errors"
	"strings"
	"testing"
	"time"

	"podstep.dev/adapter/cluster/workload"
	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/wire"
)

// several is deployment/web: alice steals 80 and 81 at two pods, bob 80 by a filter, eve mirrors, and one agent does not answer.
func several() *owned {
	w := &owned{target: config.Target{Kind: "deployment", Name: "web"}}
	session := func(name, id string, mode wire.Mode, ports ...uint16) wire.Session {
		s := wire.Session{Holder: wire.Holder{Name: name, Session: id, Since: time.Now().Add(-12 * time.Minute)}}
		for _, p := range ports {
			s.Subscriptions = append(s.Subscriptions, wire.SubscribeParams{Port: p, Mode: mode})
		}
		return s
	}
	for _, pod := range []string{"web-0", "web-1"} {
		w.add(workload.Borrower{Pod: pod, Session: session("alice@laptop", "k3", wire.ModeSteal, 81, 80), Agent: workload.Agent{Pod: pod}})
	}
	w.add(workload.Borrower{Pod: "web-1", Session: session("bob@desk", "k4", wire.ModeSteal, 80)})
	w.add(workload.Borrower{Pod: "web-1", Session: session("eve@desk", "k5", wire.ModeMirror, 80)})
	w.add(workload.Borrower{Pod: "web-2", Unknown: "it does not answer"})
	return w
}

func TestThievesAreChosenByNameIDAndPort(t *testing.T) {
	for which, want := range map[Which]string{
		{}:                                   "k3 k4",
		{Port: 81}:                           "k3",
		{Port: 80}:                           "k3 k4",
		{Session: "alice@laptop"}:            "k3",
		{Session: "alice"}:                   "k3",
		{Session: "k4"}:                      "k4",
		{Session: "bob", Port: 81}:           "",
		{Session: "eve"}:                     "",
		{Session: "ali"}:                     "",
		{Port: 443}:                          "",
		{Session: "alice@laptop", Port: 443}: "",
	} {
		thieves, err := several().choose(which)
		var ids []string
		for _, th := range thieves {
			ids = append(ids, th.Session.Session)
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%+v: %q, want %q", which, got, want)
		}
		var f *fault.Fault
		if want == "" && (!errors.As(err, &f) || f.ID != fault.NobodySteals || !strings.Contains(f.Error(), "pod/web-2: it does not answer") || !strings.Contains(f.Hint, "alice@laptop (ports 80, 81 for 12m0s; session k3)")) {
			t.Errorf("%+v: %v", which, err)
		}
	}
	thief, err := several().choose(Which{Session: "alice"})
	if err != nil || len(thief[0].agents) != 2 || len(thief[0].pods) != 2 {
		t.Errorf("alice is at %+v, %v", thief, err)
	}
}

func TestWhatIsWrittenRevokesWhatWasAskedFor(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	thieves := several().thieves[:1]
	for name, test := range map[string]struct {
		r       Revoking
		thieves []*Thief
		// Who is bound: her session, her next one, somebody else's next one.
		this, next, other bool
	}{
		"now":                         {Revoking{}, thieves, true, false, false},
		"for an hour":                 {Revoking{For: time.Hour}, thieves, true, true, true},
		"for an hour, nobody there":   {Revoking{For: time.Hour}, nil, true, true, true},
		"her, for an hour":            {Revoking{For: time.Hour, Which: Which{Session: "alice"}}, thieves, true, true, false},
		"her, who is not there":       {Revoking{For: time.Hour, Which: Which{Session: "alice@laptop"}}, nil, true, true, false},
		"a port's, for an hour":       {Revoking{For: time.Hour, Which: Which{Port: 80}}, thieves, true, true, false},
		"her, but only now":           {Revoking{Which: Which{Session: "k3"}}, thieves, true, false, false},
		"somebody who is not a thief": {Revoking{For: time.Hour, Which: Which{Session: "carl@desk"}}, nil, false, false, false},
	} {
		e := test.r.entry(test.thieves, now)
		binds := func(session, holder string) bool {
			return e.Binds(session, holder, now.Add(time.Minute))
		}
		if this, next, other := binds("k3", "alice@laptop"), binds("k9", "alice@laptop"), binds("k8", "dora@desk"); this != test.this || next != test.next || other != test.other {
			t.Errorf("%s: this %v, next %v, other %v, want %v %v %v", name, this, next, other, test.this, test.next, test.other)
		}
		if e.Binds("k9", "alice@laptop", now.Add(2*time.Hour)) {
			t.Errorf("%s: it binds after the hour", name)
		}
	}
}
