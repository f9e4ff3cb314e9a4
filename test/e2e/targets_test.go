//go:build linux

package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"podstep.dev/internal/testkit/visit"
)

// TestTargetsSayWhoBorrows lists the namespace while a session steals from its shop, and after it.
func TestTargetsSayWhoBorrows(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.deploy(shop{})
	s.service("shop", "shop")
	c := s.customer("http://shop")
	type target struct {
		Target, Status string
		Ready, Pods    int
		Borrowed       []struct {
			Pod, Name, Unknown string
			Subscriptions      []struct {
				Port uint16
				Mode string
			}
		}
	}
	list := func() map[string]target {
		out, err := s.Command("targets", "-o", "json").Output()
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ Targets []target }
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		byName := map[string]target{}
		for _, t := range got.Targets {
			byName[t.Target] = t
		}
		return byName
	}
	if free := list()["deployment/shop"]; free.Status != "ready" || free.Ready != 1 || free.Pods != 1 || free.Borrowed != nil {
		t.Errorf("before the session: %+v", free)
	}
	began := time.Now()
	d := s.launched(s.mirror("deployment/shop"))
	s.await(c, "the debuggee answers", began, visit.By("debuggee"))
	for _, name := range []string{"deployment/shop", "service/shop"} {
		got := list()[name]
		if len(got.Borrowed) != 1 || !strings.Contains(got.Borrowed[0].Name, "@") || len(got.Borrowed[0].Subscriptions) != 1 ||
			got.Borrowed[0].Subscriptions[0].Port != 80 || got.Borrowed[0].Subscriptions[0].Mode != "steal" {
			t.Errorf("during the session: %s is %+v", name, got)
		}
	}
	table, err := s.Command("targets").Output()
	if err != nil || !strings.Contains(string(table), "BORROWED BY") || !strings.Contains(string(table), " steals 80 for ") {
		t.Errorf("%v, the table is\n%s", err, table)
	}
	t.Logf("\n%s", table)
	s.disconnect(d)
	s.cleared()
	if free := list()["deployment/shop"]; free.Borrowed != nil {
		t.Errorf("after the session: %+v", free)
	}
}
