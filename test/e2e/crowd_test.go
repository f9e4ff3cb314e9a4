//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"podstep.dev/internal/testkit"
)

// The crowd: so many sessions, several on each of a few pods, each with a port of its own. Each answers so many requests.
const (
	crowd         = 50
	crowdPods     = 5
	crowdRequests = 30
	crowdPort     = 8000
)

// guest is one session of the crowd.
type guest struct {
	name, target, url string
	port              int // of the target
	cmd               *exec.Cmd
	words             testkit.Output
	log               string
}

// TestFiftySessionsAreServedAtOnce : each session gets what comes to its own port, and nothing else, while many others come and
// go on, several of them on each pod. It prints what a session asks of the API server and what an agent takes. It is not
// parallel, because it measures.
func TestFiftySessionsAreServedAtOnce(t *testing.T) {
	s := newStage(t)
	pods := s.crowdPods()
	guests := make([]*guest, crowd)
	visit := []string{"/visitor", "crowd", fmt.Sprint(crowdRequests)}
	for i := range guests {
		port := crowdPort + i/crowdPods
		guests[i] = &guest{
			name: fmt.Sprintf("guest-%d", i), target: fmt.Sprintf("deployment/crowd-%d", i%crowdPods), port: port,
			url: fmt.Sprintf("http://%s:%d/", pods[i%crowdPods].Status.PodIP, port),
		}
		visit = append(visit, guests[i].url, guests[i].name)
	}
	asker := s.start("pod", shop{name: "asker", command: []string{"/visitor", "wait"}})[0]
	began := time.Now()
	for _, g := range guests {
		s.enter(g)
	}
	t.Logf("%d sessions started in %v", crowd, time.Since(began).Round(time.Millisecond))
	visited := make(chan []byte, 1)
	go func() {
		out, err := s.exec(s.ctx, s.ns, asker.Name, "", visit...)
		if err != nil {
			out = []byte(err.Error())
		}
		visited <- out
	}()
	under := s.residents(pods, visited, func(out []byte) { s.checkCrowd(out, guests, began) })
	idle := s.resident(pods)
	t.Logf("the agents of %d sessions each take %.1f MB of resident memory under load at most, %.1f MB behind it", crowd/crowdPods, float64(under)/1e6, float64(idle)/1e6)
	for _, pod := range pods {
		if n := len(s.fresh(pod).Spec.EphemeralContainers); n != 1 {
			t.Errorf("%s has %d agents in its specification for ever, want one that serves all", pod.Name, n)
		}
	}
	s.leave(guests)
	s.printUsage(guests)
	s.cleared()
}

// crowdPods are one pod of each deployment of the crowd. They serve all ports.
func (s *stage) crowdPods() (pods []*corev1.Pod) {
	s.t.Helper()
	var ports []string
	for i := range crowd / crowdPods {
		ports = append(ports, fmt.Sprint(crowdPort+i))
	}
	o := shop{command: []string{"/visitor", "serve", strings.Join(ports, ","), "target"}, port: crowdPort}
	for i := range crowdPods {
		o.name = fmt.Sprintf("crowd-%d", i)
		s.create(s.workload("deployment", o))
	}
	for i := range crowdPods {
		pods = append(pods, &s.ready(fmt.Sprintf("crowd-%d", i), 1)[0])
	}
	return pods
}

// enter starts a session whose debuggee answers with its name.
func (s *stage) enter(g *guest) {
	s.t.Helper()
	local := fmt.Sprint(freePort(s.t))
	s.guest(g, "--target", g.target, "--steal", fmt.Sprintf("%d:%s", g.port, local), "--", s.visitor(), "serve", local, g.name)
}

// guest starts podstep run for a guest. Nothing lingers.
func (s *stage) guest(g *guest, args ...string) {
	s.t.Helper()
	g.log = filepath.Join(s.Home, g.name+".log")
	g.cmd = s.Command(append([]string{"--log-level", "info", "--log-file", g.log, "run", "--linger", "0"}, args...)...)
	g.cmd.Stdout, g.cmd.Stderr = &g.words, &g.words
	if err := g.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_, _ = g.cmd.Process.Kill(), g.cmd.Wait()
		if s.t.Failed() {
			log, _ := os.ReadFile(g.log)
			s.t.Logf("%s said:\n%s%s", g.name, g.words.String(), log)
		}
	})
}

// leave ends the guests' sessions.
func (s *stage) leave(guests []*guest) {
	s.t.Helper()
	for _, g := range guests {
		if err := g.cmd.Process.Signal(os.Interrupt); err != nil {
			s.t.Error(err)
		}
	}
	for _, g := range guests {
		_ = g.cmd.Wait() // ended by the signal
	}
}

// checkCrowd looks at how it went at each port.
func (s *stage) checkCrowd(out []byte, guests []*guest, began time.Time) {
	s.t.Helper()
	var places []struct {
		Who     string
		First   time.Time
		Answers int
		Others  []string
	}
	if err := json.Unmarshal(out, &places); err != nil || len(places) != len(guests) {
		s.t.Fatalf("%d places: %v: %s", len(places), err, out)
	}
	var firsts []time.Duration
	late := 0
	for _, p := range places {
		firsts = append(firsts, p.First.Sub(began).Round(time.Millisecond))
		wrong := slices.DeleteFunc(slices.Clone(p.Others), func(by string) bool { return by == "target" })
		if p.Answers < crowdRequests || len(wrong) > 0 {
			s.t.Errorf("%s answered %d of %d requests, and since its first one somebody else, or nobody: %q", p.Who, p.Answers, crowdRequests, wrong)
		}
		late += len(p.Others) - len(wrong)
	}
	// Where two cores do the work of fifty people's, an agent may not run for the 900 ms after which the target serves by itself.
	s.t.Logf("of %d requests to ports that a session had, the target answered %d", crowd*crowdRequests+late, late)
	if late > crowd*crowdRequests/4 {
		s.t.Errorf("the target answered %d requests that were a session's", late)
	}
	slices.Sort(firsts)
	s.t.Logf("%d requests answered by each; the first session served %v after the start of the first, half of them %v, the last %v",
		crowdRequests, firsts[0], firsts[len(firsts)/2], firsts[len(firsts)-1])
}

// residents looks at the agents' memory until over gives something, which then is handed on, and returns the most it saw.
func (s *stage) residents(pods []*corev1.Pod, over <-chan []byte, then func([]byte)) (most int) {
	s.t.Helper()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case out := <-over:
			then(out)
			return most
		case <-tick.C:
			most = max(most, s.resident(pods))
		}
	}
}

// resident is the memory in bytes of the agent that takes the most.
func (s *stage) resident(pods []*corev1.Pod) (most int) {
	s.t.Helper()
	for _, pod := range pods {
		seen, err := s.look(s.ctx, pod)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, p := range seen.Processes {
			if strings.HasPrefix(p.Name, "podstep") {
				most = max(most, p.RSS<<10)
			}
		}
	}
	return most
}

// usageLine is what a session logs of the API server at its end.
var usageLine = regexp.MustCompile(`"requests": (\d+), "sent": (\d+), "received": (\d+)`)

// printUsage prints what the sessions asked of the API server.
func (s *stage) printUsage(guests []*guest) {
	s.t.Helper()
	var usage [3][]int
	for _, g := range guests {
		log, err := os.ReadFile(g.log)
		if err != nil {
			s.t.Fatal(err)
		}
		found := usageLine.FindSubmatch(log)
		if found == nil {
			s.t.Fatalf("%s does not say what it asked of the API server:\n%s%s", g.name, g.words.String(), log)
		}
		for i := range usage {
			n, err := strconv.Atoi(string(found[i+1]))
			if err != nil {
				s.t.Fatal(err)
			}
			usage[i] = append(usage[i], n)
		}
	}
	for i, what := range []string{"requests to the API server", "bytes sent to it", "bytes received of it"} {
		slices.Sort(usage[i])
		s.t.Logf("%s in a session, from its start to its end: %d in the median, %d to %d", what, usage[i][crowd/2], usage[i][0], usage[i][crowd-1])
	}
}
