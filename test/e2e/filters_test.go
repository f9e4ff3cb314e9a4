//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/testkit/visit"
)

// The sessions that share a port, and the load on it. $PODSTEP_E2E_REQUESTS asks for another number of requests; a million takes
// -timeout 2h, and 25 minutes.
const (
	sharers      = 10
	shareLoad    = 20_000
	shareAtOnce  = 16
	perRequest   = 5 * time.Millisecond // what the test may take longer for each
	latencyLoad  = 300
	latencyTurns = 8
)

// byParty is the filter of a party, by the header that tells one from another.
func byParty(party string) map[string]any {
	return map[string]any{"header": map[string]any{visit.PartyHeader: party}}
}

// filtered are the keys of a block that steals port 80 by a filter.
func (s *stage) filtered(filter any, onPause string) map[string]any {
	return map[string]any{"incoming": map[string]any{"mode": "steal", "ports": map[string]int{"80": s.port}, "filter": filter, "onPause": onPause}}
}

// sharing is a port that sessions share by filters.
type sharing struct {
	*stage
	guests []*guest
	// stopped is the session that stands at a breakpoint, whose party is the last of the parties.
	stopped *desk.Session
	thread  int      // where it stands
	parties []string // without the target's own, which is ""
	asker   corev1.Pod
	pods    []corev1.Pod
}

// TestSessionsShareAPortByFilters : ten sessions have a port of two pods, each the requests with its own header, and the target the
// others, which come on the same connections. Nobody gets what is another's, and nothing is lost or comes twice, while one
// of the debuggees stands at a breakpoint, whose requests are refused at once; and when one session is killed, its requests are
// the target's and the other sessions notice nothing. It is not parallel, because it measures.
func TestSessionsShareAPortByFilters(t *testing.T) {
	n := loadSize(t)
	s := &sharing{stage: newLongStage(t, testTime+time.Duration(n)*perRequest)}
	tally := []string{"/visitor", "tally", "80", "target"}
	s.pods = s.deploy(shop{replicas: 2, spread: true, command: tally})
	s.deploy(shop{name: "quiet", replicas: 2, spread: true, command: tally})
	s.service("shop", "shop")
	s.service("quiet", "quiet")
	s.asker = s.start("pod", shop{name: "asker", command: []string{"/visitor", "wait"}})[0]
	s.open()

	answered := s.stop()
	s.measure("http://shop", n)
	s.compare()
	s.listed()
	if err := s.stopped.Resume(s.ctx, s.thread); err != nil {
		t.Fatal(err)
	}
	if by := (<-answered).Shares[0].By; by["debuggee"] != 1 {
		t.Errorf("the request that stopped was answered so: %v", by)
	}
	s.kill(n / 4)

	s.leave(s.guests[1:])
	_ = s.guests[0].cmd.Wait() // it was killed
	s.disconnect(s.stopped)
	s.cleared()
}

// loadSize is how many requests there are to be.
func loadSize(t *testing.T) int {
	t.Helper()
	text := os.Getenv("PODSTEP_E2E_REQUESTS")
	if text == "" {
		return shareLoad
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// open starts the sessions and waits until each serves at both pods.
func (s *sharing) open() {
	s.t.Helper()
	began := time.Now()
	for i := range sharers {
		party := fmt.Sprintf("party-%d", i)
		s.parties = append(s.parties, party)
		if i == sharers-1 {
			s.stopped = s.launched(s.mirror("deployment/shop", s.filtered(byParty(party), "reject")))
			break
		}
		g, local := &guest{name: party}, fmt.Sprint(freePort(s.t))
		s.guests = append(s.guests, g)
		s.guest(g, "--target", "deployment/shop", "--steal", "80:"+local, "--filter", string(marshal(byParty(party))), "--", s.visitor(), "tally", local, party)
	}
	for _, pod := range s.pods {
		s.eventually("all sessions serve at "+pod.Name, func() bool {
			shares := s.load("get", "http://"+pod.Status.PodIP, 3*sharers, 1, s.parties...)
			return !slices.ContainsFunc(shares.Shares, func(share visit.Share) bool { return share.By[s.answers(share.Party)] != 3 })
		})
		if n := len(s.fresh(&pod).Spec.EphemeralContainers); n != 1 {
			s.t.Errorf("%s has %d agents, want one for all", pod.Name, n)
		}
	}
	s.t.Logf("%d sessions serve %v after the start of the first", sharers, time.Since(began).Round(time.Millisecond))
}

// answers is who answers a party's requests, "" for the target's own.
func (s *sharing) answers(party string) string {
	switch party {
	case "":
		return "target"
	case s.parties[sharers-1]:
		return "debuggee"
	}
	return party
}

// load makes requests from the asker's pod.
func (s *sharing) load(method, url string, n, atOnce int, parties ...string) (shares visit.Shares) {
	s.t.Helper()
	shares, err := s.tryLoad(method, url, n, atOnce, parties...)
	if err != nil {
		s.t.Fatal(err)
	}
	return shares
}

func (s *sharing) tryLoad(method, url string, n, atOnce int, parties ...string) (shares visit.Shares, err error) {
	argv := []string{"/visitor", "load", method, url, fmt.Sprint(n), fmt.Sprint(atOnce)}
	for _, party := range parties {
		if party == "" {
			party = "-"
		}
		argv = append(argv, party)
	}
	out, err := s.exec(s.ctx, s.ns, s.asker.Name, "", argv...)
	if err != nil {
		return shares, err
	}
	return shares, json.Unmarshal(out, &shares)
}

// stop has the last session's debugger stop on a request, whose answer comes when it goes on.
func (s *sharing) stop() (answered <-chan visit.Shares) {
	s.t.Helper()
	file := filepath.Join(root(), "test/debuggees/go/shop/main.go")
	line := desk.LineOf(s.t, file, "<- the demo's breakpoint")
	if _, err := s.stopped.Request(s.ctx, "setBreakpoints", map[string]any{"source": map[string]any{"path": file}, "breakpoints": []any{map[string]int{"line": line}}}); err != nil {
		s.t.Fatal(err)
	}
	first := make(chan visit.Shares, 1)
	go func() {
		shares, err := s.tryLoad("get", "http://shop", 1, 1, s.parties[sharers-1])
		if err != nil {
			s.t.Error(err)
			shares.Shares = make([]visit.Share, 1)
		}
		first <- shares
	}()
	stop, err := s.stopped.Stopped(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	s.thread = stop.ThreadID
	if err := s.stopped.ClearBreakpoints(s.ctx, file); err != nil {
		s.t.Fatal(err)
	}
	return first
}

// measure makes the requests of all parties, while one debugger is stopped, and looks at who got them.
func (s *sharing) measure(url string, n int) {
	s.t.Helper()
	parties := append([]string{""}, s.parties...)
	shares := s.load("post", url, n, shareAtOnce, parties...)
	s.t.Logf("%d requests in %v on %d connections", n, shares.Took.Round(time.Millisecond), shares.Dialled)
	if shares.Dropped > 0 {
		s.t.Errorf("%d of the connections were not kept", shares.Dropped)
	}
	for i, share := range shares.Shares {
		want := s.answers(share.Party)
		if i == sharers {
			want = "503"
		}
		s.t.Logf("%-10s answered by %v; p50 %v, p99 %v, slowest %v", "“"+share.Party+"”", share.By, round(share.P50), round(share.P99), round(share.Slowest))
		if share.By[want] != numbers(n, i, len(parties)) || len(share.By) != 1 || share.Failed > 0 {
			s.t.Errorf("of %d requests of %q, %s was to answer all: %+v", numbers(n, i, len(parties)), share.Party, want, share)
		}
	}
	if refused := shares.Shares[sharers]; refused.P99 > time.Second {
		s.t.Errorf("requests for a debugger that is stopped were refused only after %v", refused.P99)
	}
	s.count(n, parties)
}

// numbers is how many of n requests are one party's.
func numbers(n, party, parties int) int { return (n - party + parties - 1) / parties }

// count compares what each party saw with what was asked for.
func (s *sharing) count(n int, parties []string) {
	s.t.Helper()
	seen := [][]int{nil}
	for _, pod := range s.pods {
		at := s.seen("http://"+pod.Status.PodIP, "-")
		s.t.Logf("%s on %s saw %d requests", pod.Name, pod.Spec.NodeName, len(at))
		if len(at) == 0 {
			s.t.Errorf("%s saw no requests", pod.Name)
		}
		seen[0] = append(seen[0], at...)
	}
	slices.Sort(seen[0])
	for _, g := range s.guests {
		seen = append(seen, s.seen("http://shop", g.name))
	}
	lost, twice, foreign := 0, 0, 0
	for i, got := range seen {
		twice += len(got) - len(slices.Compact(slices.Clone(got)))
		for _, id := range got {
			if id%len(parties) != i || id >= n {
				foreign++
			}
		}
		for id := i; id < n; id += len(parties) {
			if _, found := slices.BinarySearch(got, id); !found {
				lost++
			}
		}
	}
	s.t.Logf("of %d requests: %d lost, %d twice, %d at another's, %d refused", n, lost, twice, foreign, numbers(n, sharers, len(parties)))
	if lost+twice+foreign > 0 {
		s.t.Errorf("%d requests were lost, %d came twice, %d to another party", lost, twice, foreign)
	}
}

// seen are the numbers of the requests that a party had, "-" for the target.
func (s *sharing) seen(url, party string) (ids []int) {
	s.t.Helper()
	argv := []string{"/visitor", "get", url + "/seen"}
	if party != "-" {
		argv = append(argv, party)
	}
	out, err := s.exec(s.ctx, s.ns, s.asker.Name, "", argv...)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal(out, &ids); err != nil {
		s.t.Fatalf("%s saw: %v in %.200q", party, err, out)
	}
	return ids
}

// compare asks for the target's own requests, at the pods that ten sessions share and at pods that nobody borrows in turn: of a service
// that answers at once, and of one that takes as long as services do that ask others.
func (s *sharing) compare() {
	s.t.Helper()
	for _, service := range []struct {
		what, path string
		n          int
	}{{"which answers at once", "", latencyLoad}, {"which takes 10 ms", "/takes/10ms", latencyLoad / 3}} {
		for _, atOnce := range []int{1, shareAtOnce} {
			s.compareOne(service.what, service.path, service.n*atOnce, atOnce)
		}
	}
}

func (s *sharing) compareOne(what, path string, n, atOnce int) {
	s.t.Helper()
	var with, without [2][]time.Duration
	for range latencyTurns {
		for url, times := range map[string]*[2][]time.Duration{"http://quiet": &without, "http://shop": &with} {
			shares := s.load("get", url+path, n, atOnce, "")
			share := shares.Shares[0]
			if share.By["target"] != n {
				s.t.Errorf("%s answers its own requests so: %+v", url, share)
			}
			times[0], times[1] = append(times[0], share.P50), append(times[1], share.P99)
		}
	}
	for i, quantile := range []string{"p50", "p99"} {
		slices.Sort(with[i])
		slices.Sort(without[i])
		a, b := with[i][latencyTurns/2], without[i][latencyTurns/2]
		s.t.Logf("requests of a target %s, %d at once, %s: %v with %d sessions, %v without: %.2fx, %+v", what, atOnce, quantile, round(a), sharers, round(b), float64(a)/float64(b), round(a-b))
		if a > 10*b+100*time.Millisecond {
			s.t.Errorf("the target's own requests take %v with the sessions, %v without", a, b)
		}
	}
}

// listed looks at what others are told.
func (s *sharing) listed() {
	s.t.Helper()
	table := s.borrowers("deployment/shop")
	s.t.Logf("\n%s", table)
	for i, party := range s.parties {
		if want := fmt.Sprintf("header x-party = %q", party); !slices.ContainsFunc(lines(table), func(line string) bool {
			return contains(line, "alice@", "steals 80", want) && contains(line, "paused") == (i == sharers-1)
		}) {
			s.t.Errorf("podstep targets has no line with %s, or the wrong pause: %s", want, table)
		}
	}
}

// kill kills one session during a load on kept connections.
func (s *sharing) kill(n int) {
	s.t.Helper()
	victim := s.guests[0]
	c := s.partyCustomer("http://shop", victim.name)
	s.await(c, victim.name+" answers", time.Time{}, visit.By(victim.name))
	before, loaded := len(s.seen("http://shop", victim.name)), make(chan visit.Shares, 1)
	go func() {
		shares, err := s.tryLoad("post", "http://shop", n, shareAtOnce, append([]string{""}, s.parties[:sharers-1]...)...)
		if err != nil {
			s.t.Error(err)
		}
		loaded <- shares
	}()
	s.eventually(victim.name+" answers under load", func() bool { return len(s.seen("http://shop", victim.name)) > before })
	killed := time.Now()
	desk.Kill(s.t, victim.cmd.Process.Pid, syscall.SIGKILL)
	r := s.await(c, "the target answers instead", killed, visit.By("target"))
	s.t.Logf("a session was killed: the target answered its requests %v later", round(r.Ended().Sub(killed)))
	if late := r.Ended().Sub(killed); late > 5*time.Second {
		s.t.Errorf("the target answered only %v after a session was killed", late)
	}
	shares := <-loaded
	for i, share := range shares.Shares {
		s.t.Logf("%-10s answered by %v, failed %d", "“"+share.Party+"”", share.By, share.Failed)
		switch {
		case share.Party != victim.name:
			if want := numbers(n, i, sharers); share.By[s.answers(share.Party)] != want || share.Failed > 0 {
				s.t.Errorf("when another session was killed, %q had %d requests, which went so: %+v", share.Party, want, share)
			}
		// What it was answering is lost, one on each connection at most, or answered 502.
		case share.By["target"] == 0 || share.By[victim.name] == 0 || share.Failed+share.By["502"] > shareAtOnce:
			s.t.Errorf("the requests of the session that was killed went so: %+v", share)
		}
	}
	if r, found := c.First(r.Began, func(r visit.Request) bool { return r.By != "target" }); found {
		s.t.Errorf("after a session was killed and the target had answered once: %+v", r)
	}
}

// events are those of a pod.
func (s *stage) events(pod *corev1.Pod) []corev1.Event {
	s.t.Helper()
	list, err := s.client.CoreV1().Events(s.ns).List(s.ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod.Name})
	if err != nil {
		s.t.Fatal(err)
	}
	return list.Items
}

func lines(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }

func contains(text string, words ...string) bool {
	return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) })
}

// round is d as people read it.
func round(d time.Duration) time.Duration {
	if d.Abs() < 10*time.Millisecond {
		return d.Round(time.Microsecond)
	}
	return d.Round(100 * time.Microsecond)
}
