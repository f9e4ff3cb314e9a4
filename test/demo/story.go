package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"podstep.dev/internal/testkit/pod"
)

// The pod's network: private addresses (RFC 1918), known in the pod only.
const (
	podAddress    = "10.42.0.7"
	stockAddress  = "10.42.0.8"
	clientAddress = "10.42.0.99"
	probeAddress  = "10.42.0.98"
	url           = "http://shop/cart/42"
)

const (
	// held is how long the breakpoint is held.
	held = 5 * time.Second
	// askedEvery is the client's interval.
	askedEvery = 200 * time.Millisecond
	// patience bounds a step that should take a moment.
	patience = 20 * time.Second
	// building bounds the launch, which builds the debuggee: on a machine without a build cache the standard library too.
	building = 3 * time.Minute
)

// story is the state of the demo.
type story struct {
	*transcript
	place   place
	self    string
	pod     *pod.Pod
	replies *replies
	editor  *editor
	family  family
	runtime string
	// shopBegan is when the kernel says that the target's process started.
	shopBegan string
	// ends are the moments at which a debuggee was ended: a request that it had is lost.
	ends []time.Time
}

// tell tells the story from the beginning to the end.
func tell(ctx context.Context) (err error) {
	s := &story{transcript: newTranscript(os.Stdout), replies: newReplies(), family: family{}}
	scratch, err := os.MkdirTemp("", "podstep-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	if s.self, err = os.Executable(); err != nil {
		return err
	}
	s.runtime = filepath.Join(scratch, "run")
	if err := os.Mkdir(s.runtime, 0o700); err != nil {
		return err
	}
	s.title("podstep: a breakpoint in a request that somebody sends to a running service")
	if s.place, err = findPlace(ctx, scratch); err != nil {
		return err
	}
	defer s.cleanUp()
	for _, chapter := range []func(context.Context) error{s.makePod, s.pressF5, s.hold, s.goOn, s.restart, s.disconnect, s.lookAround} {
		if err := chapter(ctx); err != nil {
			return s.failure(err)
		}
	}
	if !s.table() {
		return errNotSeen
	}
	s.line("%s in %.0f s. The shop serves as if nothing had been.\n", s.paint(bold+";"+green, "All of it was seen"), time.Since(s.began).Seconds())
	return nil
}

func (s *story) cleanUp() {
	if s.editor != nil {
		s.editor.kill()
	}
	if s.pod != nil {
		_ = s.pod.Close()
	}
}

// failure adds to err what helps to understand it.
func (s *story) failure(err error) error {
	if s.editor != nil {
		s.quote("console", s.editor.outputs())
		s.quote("podstep", s.editor.words.String())
	}
	if s.pod != nil {
		s.quote("client", "last replies: "+s.replies.last()+"\n")
	}
	return fmt.Errorf("step %d failed: %w", s.steps, err)
}

// bounded gives a step its time.
func bounded(ctx context.Context, what string, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("%s took longer than %v", what, d))
}

// makePod is the world without podstep.
func (s *story) makePod(ctx context.Context) error {
	s.step("A pod on this machine, with a service and a client in it")
	ctx, cancel := bounded(ctx, "the pod's first answer", patience)
	defer cancel()
	var err error
	s.pod, err = pod.Start(pod.Options{
		Command:   []string{s.place.shop},
		Env:       []string{"ANSWERED_BY=target", "PATH=/usr/bin:/bin", "STAGE=production"},
		Hostname:  "shop-0",
		Addresses: addresses(podAddress, stockAddress, clientAddress, probeAddress, "fd00:42::7"),
		Names:     map[string]netip.Addr{"shop": netip.MustParseAddr(podAddress), "stock": netip.MustParseAddr(stockAddress)},
		Output:    quoter{s.transcript, "pod"},
	})
	if errors.Is(err, pod.ErrNotAllowed) {
		hint := "On this machine an ordinary user may not make a pod: run the demo as root."
		if os.Geteuid() == 0 {
			hint = "A container needs CAP_SYS_ADMIN, or user namespaces, for a pod in it: run the demo outside."
		}
		return fmt.Errorf("%w\n   %s", err, hint)
	}
	if err != nil {
		return err
	}
	_, s.shopBegan = stat(s.pod.PID())
	if _, err := s.pod.Exec(pod.Command{Args: []string{s.place.stock}, Env: []string{"STOCK_ADDRESS=" + stockAddress + ":81"}, Stderr: os.Stderr}); err != nil {
		return err
	}
	s.line("process %d is the shop: http://shop on shop-0, %s port 80", s.pod.PID(), podAddress)
	s.line("it asks http://stock:81 for prices, a name that exists only in the pod (uid %d made it, no route out)", os.Getuid())
	s.line("%s, in the pod too, sends GET /cart/42 every %v", clientAddress, askedEvery)
	if _, err := s.startClient(clientAddress, askedEvery, s.replies); err != nil {
		return err
	}
	first, err := s.replies.await(ctx, "wait for the target's answer", by("target", s.began))
	if err != nil {
		return err
	}
	s.reply(first)
	s.claim(first.Cart.Client == first.Source, "the target answers", "it sees the client as %s", first.Cart.Client)
	return nil
}

func addresses(texts ...string) (list []netip.Addr) {
	for _, text := range texts {
		list = append(list, netip.MustParseAddr(text))
	}
	return list
}

func (s *story) startClient(source string, every time.Duration, to *replies) (*pod.Process, error) {
	return s.pod.Exec(pod.Command{Args: []string{s.self, clientPart, url, source, every.String()}, Env: []string{"GODEBUG=netdns=go"}, Stdout: to, Stderr: os.Stderr})
}

// pressF5 launches a local copy of the shop, in the place of the pod's, and stops in a request.
func (s *story) pressF5(ctx context.Context) error {
	s.step("F5: an editor starts podstep dap, with a breakpoint in %s:%d", s.place.relative(s.place.source), s.place.line)
	ctx, cancel := bounded(ctx, "F5", building)
	defer cancel()
	var err error
	if s.editor, err = startEditor(s.place, s.runtime); err != nil {
		return err
	}
	begin := time.Now()
	if _, err := s.editor.Initialize(ctx, "podstep"); err != nil {
		return err
	}
	if err := s.editor.Launch(ctx, s.place.launch(s.pod.PID()), map[string][]int{s.place.source: {s.place.line}}); err != nil {
		return err
	}
	s.quote("console", s.editor.outputs())
	s.line("launched under dlv after %s", short(time.Since(begin)))
	return nil
}

// hold stops in a request, looks around, and keeps the debuggee stopped while the target serves the others.
func (s *story) hold(ctx context.Context) error {
	at, err := s.atBreakpoint(ctx)
	if err != nil {
		return err
	}
	for _, name := range []string{"id", "client", "r.Method", "r.URL.Path", "r.Host"} {
		s.line("  %-11s = %s", name, s.paint(cyan, at.variables[name]))
	}
	client := at.variables["client"]
	s.claim(at.line == s.place.line && at.file == s.place.source, "a request to the pod stops at a breakpoint here", "%s:%d", s.place.relative(at.file), at.line)
	s.claim(strings.HasPrefix(client, clientAddress+":") && at.variables["r.URL.Path"] == "/cart/42", "the debuggee sees the true client", "%s", client)

	s.step("The breakpoint is held for %v: does anybody else notice?", held)
	begin := time.Now()
	select {
	case <-time.After(held):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	during := s.replies.that(func(r reply) bool { return r.Began.After(begin) })
	answered, slowest := 0, time.Duration(0)
	for _, r := range during {
		if r.Error == "" && r.Cart.AnsweredBy == "target" {
			answered++
		}
		slowest = max(slowest, r.Took)
	}
	if len(during) > 0 {
		s.reply(during[len(during)-1])
	}
	expected := int(held/askedEvery) / 2 // a busy machine's client may ask more seldom
	s.claim(answered == len(during) && answered >= expected && slowest < time.Second, "meanwhile the target answers the others",
		"%d of %d requests, the slowest in %s", answered, len(during), short(slowest))

	s.step("Continue, without the breakpoint")
	ctx, cancel := bounded(ctx, "continuing", patience)
	defer cancel()
	resumed := time.Now()
	if err := s.editor.proceed(ctx, s.place, at); err != nil {
		return err
	}
	late, err := s.replies.await(ctx, "wait for the answer to the held request", func(r reply) bool { return r.Source == client })
	if err != nil {
		return err
	}
	s.reply(late)
	s.claim(late.Error == "" && late.Cart.AnsweredBy == "debuggee" && late.Took > held, "the client of the held request gets the local answer",
		"after %s", short(late.Took))
	s.claim(late.Cart.Hostname == "shop-0" && late.Cart.Price == 200, "the debuggee reaches a service that exists only in the pod",
		"stock says %d cents; its hostname is %s", late.Cart.Price, late.Cart.Hostname)
	return s.answersItself(ctx, resumed)
}

// atBreakpoint waits for the stop and shows it.
func (s *story) atBreakpoint(ctx context.Context) (stop, error) {
	ctx, cancel := bounded(ctx, "the stop at the breakpoint", patience)
	defer cancel()
	at, err := s.editor.stopped(ctx)
	if err != nil {
		return at, err
	}
	s.family.note(s.editor.cmd.Process.Pid)
	s.quote("console", s.editor.outputs())
	s.step("Stopped at %s:%d", s.place.relative(at.file), at.line)
	for i, text := range s.place.around(at.line) {
		mark, colour := "  ", dim
		if i == 1 {
			mark, colour = s.paint(yellow, "▶ "), bold
		}
		s.line("%s%s %s", mark, s.paint(dim, fmt.Sprintf("%d │", at.line-1+i)), s.paint(colour, text))
	}
	return at, nil
}

// answersItself waits until the debuggee has answered requests made since then.
func (s *story) answersItself(ctx context.Context, since time.Time) error {
	const several = 3
	for n := 0; n < several; n++ {
		r, err := s.replies.await(ctx, "wait for an answer of the debuggee", by("debuggee", since))
		if err != nil {
			return err
		}
		s.reply(r)
		since = r.Began
	}
	return nil
}

// goOn looks at the pod while the debuggee answers all.
func (s *story) goOn(context.Context) error {
	tables, err := rules(s.pod, s.self)
	if err != nil {
		return err
	}
	s.claim(tables > 0, "the pod is borrowed by the kernel's rules alone", "%d nftables tables in the pod", tables)
	return nil
}

// restart does what the editor's button does, and stops again.
func (s *story) restart(ctx context.Context) error {
	s.step("Restart: a new debuggee, the same session")
	ctx, cancel := bounded(ctx, "the restart", building)
	defer cancel()
	before := s.editor.Count("process")
	begin := time.Now()
	s.ends = append(s.ends, begin)
	if _, err := s.editor.Request(ctx, "restart", map[string]any{}); err != nil {
		return err
	}
	if err := s.editor.Configure(ctx, 0, map[string][]int{s.place.source: {s.place.line}}); err != nil {
		return err
	}
	at, err := s.atBreakpoint(ctx)
	if err != nil {
		return err
	}
	took := time.Since(begin)
	served := s.replies.that(by("target", begin))
	s.claim(at.line == s.place.line && s.editor.Count("process") > before, "a restarted debuggee stops again", "after %s; %d requests went to the target meanwhile", short(took), len(served))
	resumed := time.Now()
	if err := s.editor.proceed(ctx, s.place, at); err != nil {
		return err
	}
	_, err = s.replies.await(ctx, "wait for an answer of the restarted debuggee", by("debuggee", resumed))
	return err
}

// disconnect ends the session, and measures how soon the service serves again.
func (s *story) disconnect(ctx context.Context) error {
	s.step("Disconnect")
	ctx, cancel := bounded(ctx, "the end of the session", patience)
	defer cancel()
	probes := newReplies()
	probe, err := s.startClient(probeAddress, 20*time.Millisecond, probes)
	if err != nil {
		return err
	}
	if _, err := probes.await(ctx, "wait for the debuggee to answer the probe", by("debuggee", s.began)); err != nil {
		return err
	}
	s.family.note(s.editor.cmd.Process.Pid)
	begin := time.Now()
	s.ends = append(s.ends, begin)
	if _, err := s.editor.Request(ctx, "disconnect", map[string]any{"terminateDebuggee": true}); err != nil {
		return err
	}
	answered := time.Since(begin)
	again, err := probes.await(ctx, "wait for the target to serve again", by("target", begin))
	if err != nil {
		return err
	}
	_ = s.editor.Client.Close()
	if err := s.editor.await(ctx); err != nil {
		return fmt.Errorf("podstep dap ended with: %w", err)
	}
	ended := time.Since(begin)
	if err := probe.Signal(15); err != nil {
		return err
	}
	probe.Wait()
	s.quote("console", s.editor.outputs())
	s.reply(again)
	took := again.ended().Sub(begin)
	s.claim(took < time.Second, "the service serves again within a second", "after %s", short(took))
	s.claim(answered < 500*time.Millisecond, "the editor has its answer within half a second", "after %s; podstep ended after %s", short(answered), short(ended))
	return nil
}

// lookAround checks that nothing is left.
func (s *story) lookAround(ctx context.Context) error {
	s.step("What is left?")
	soon, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	eventually(soon, func() bool { return len(s.family.left()) == 0 })
	left := s.family.left()
	s.claim(len(left) == 0 && len(s.family) > 3, "no process is left", "of %d that the session had: %s", len(s.family), listed(left))
	tables, err := rules(s.pod, s.self)
	if err != nil {
		return err
	}
	ports, err := listeners(s.pod.PID())
	if err != nil {
		return err
	}
	own := fmt.Sprint(ports) == fmt.Sprint([]int{53, 80, 81})
	s.claim(tables == 0 && own, "no rule and no socket is left in the pod", "%d nftables tables; listening: its own ports %v", tables, ports)
	files := filesBelow(s.runtime)
	s.claim(len(files) == 0, "no file of the session is left", "%s", listed(files))
	failed := s.replies.that(s.harmed)
	all := s.replies.that(func(reply) bool { return true })
	seen := fmt.Sprintf("%d of %d requests failed", len(failed), len(all))
	if len(failed) > 0 {
		seen += ": " + failed[0].Error
	}
	s.claim(len(failed) == 0, "no request of the client failed", "%s", seen)
	_, began := stat(s.pod.PID())
	s.claim(began == s.shopBegan && began != "", "the target is the process that it was", "process %d", s.pod.PID())
	return nil
}

// harmed says that a request failed for another reason than that the debuggee which had it was ended.
func (s *story) harmed(r reply) bool {
	if r.Error == "" {
		return false
	}
	for _, end := range s.ends {
		if r.Began.Before(end.Add(time.Second)) && r.ended().After(end) {
			return false
		}
	}
	return true
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
