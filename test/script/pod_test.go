//go:build linux

package script

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/pod"
)

// Addresses of a script's pod: its own, those of two clients in it, and one that nobody has.
const (
	podAddress    = "10.42.0.7"
	clientAddress = "10.42.0.9"
	otherAddress  = "10.42.0.10"
)

// podKey is the script's pod.
type podKey struct{}

// scriptPod is set once by the pod command.
type scriptPod struct{ *pod.Pod }

// startPod is the command
//
//	pod COMMAND ARG...
//
// which starts a pod with that service and sets TARGET. Its names "shop" and "stock" are the pod's own address; what the service
// prints is in $WORK/pod.log.
func startPod(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: pod COMMAND ARG...")
	}
	log, err := os.Create(ts.MkAbs("pod.log"))
	ts.Check(err)
	ts.Defer(func() { ts.Check(log.Close()) })
	p, err := pod.Start(pod.Options{
		Command:   args,
		Env:       []string{"PATH=" + ts.Getenv("PATH"), "SHOP_COLOUR=orange", "LD_PRELOAD="},
		Hostname:  "shop-0",
		Addresses: []netip.Addr{netip.MustParseAddr(podAddress), netip.MustParseAddr(clientAddress), netip.MustParseAddr(otherAddress)},
		Output:    log,
		Names:     map[string]netip.Addr{"shop": netip.MustParseAddr(podAddress), "stock": netip.MustParseAddr(podAddress)},
	})
	if errors.Is(err, pod.ErrNotAllowed) {
		ts.Fatalf("a pod needs root, or user namespaces: %v", err)
	}
	ts.Check(err)
	ts.Defer(func() { ts.Check(p.Close()) })
	ts.Value(podKey{}).(*scriptPod).Pod = p
	ts.Setenv("TARGET", "process/"+strconv.Itoa(p.PID()))
}

// inPod is the command
//
//	[!] inpod [-until PATTERN] COMMAND ARG...
//
// which runs a program in the pod. With -until it is run again until it succeeds and its output matches, within
// testkit.Patience. The output is the script's stdout and stderr.
func inPod(ts *testscript.TestScript, neg bool, args []string) {
	p := ts.Value(podKey{}).(*scriptPod).Pod
	var until *regexp.Regexp
	if len(args) > 2 && args[0] == "-until" {
		until = regexp.MustCompile("(?m)" + args[1])
		args = args[2:]
	}
	if p == nil || len(args) == 0 || neg && until != nil {
		ts.Fatalf("usage: pod first, then [!] inpod [-until PATTERN] COMMAND ARG...")
	}
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(testkit.Patience); ; <-again.C {
		stdout, stderr, status := runInPod(ts, p, args)
		if until != nil && (status != 0 || !until.MatchString(stdout)) {
			if time.Now().Before(deadline) {
				continue
			}
			ts.Logf("the pod's service said:\n%s", ts.ReadFile("pod.log"))
			ts.Fatalf("%v did not say %q within %v; status %d, last said:\n%s%s", args, until, testkit.Patience, status, stdout, stderr)
		}
		_, _ = fmt.Fprint(ts.Stdout(), stdout)
		_, _ = fmt.Fprint(ts.Stderr(), stderr)
		if neg != (status != 0) {
			ts.Fatalf("%v ended with status %d:\n%s%s", args, status, stdout, stderr)
		}
		return
	}
}

func runInPod(ts *testscript.TestScript, p *pod.Pod, args []string) (stdout, stderr string, status syscall.WaitStatus) {
	var out, errs bytes.Buffer
	proc, err := p.Exec(pod.Command{Args: args, Env: []string{"PATH=" + ts.Getenv("PATH")}, Stdout: &out, Stderr: &errs})
	ts.Check(err)
	status = proc.Wait()
	return out.String(), errs.String(), status
}
