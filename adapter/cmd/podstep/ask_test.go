package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/borrow/requests/local"
	"podstep.dev/adapter/cluster"
	"podstep.dev/adapter/config"
	"podstep.dev/internal/wire"
)

func TestAskAndRevokeRefuseWhatMakesNoSense(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("KUBECONFIG", "")
	long := strings.Repeat("x", wire.MaxMessage+1)
	for _, test := range []struct {
		args   []string
		status int
		words  string
	}{
		{[]string{"ask"}, statusUsage, "accepts 1 arg"},
		{[]string{"ask", "process/42"}, statusUsage, "no target of a cluster"},
		{[]string{"ask", "targetless"}, statusUsage, "no target of a cluster"},
		{[]string{"ask", "deployment/Web!"}, statusUsage, "Web!"},
		{[]string{"ask", "deployment/web", "-n", "Shop"}, statusUsage, "no name of a namespace"},
		{[]string{"ask", "deployment/web", "--port", "70000"}, statusUsage, "--port"},
		{[]string{"ask", "deployment/web", "-m", long}, statusUsage, "201 characters"},
		{[]string{"ask", "deployment/web", "-m", "a\x1b[2Jb"}, statusUsage, "plain text"},
		{[]string{"ask", "deployment/web", "--wait", "0s"}, statusUsage, "--wait"},
		{[]string{"ask", "deployment/web", "--wait", "1h"}, statusUsage, "--wait"},
		{[]string{"ask", "deployment/web", "--kubeconfig", "/none"}, statusFault, "podstep-2005"},
		{[]string{"revoke", "process/42"}, statusUsage, "no target of a cluster"},
		{[]string{"revoke", "deployment/web", "--reason", long}, statusUsage, "--reason"},
		{[]string{"revoke", "deployment/web", "--reason", "a\nb"}, statusUsage, "plain text"},
		{[]string{"revoke", "deployment/web", "--for", "-1h"}, statusUsage, "--for"},
		{[]string{"revoke", "deployment/web", "--for", "9999h"}, statusUsage, "--for"},
		{[]string{"revoke", "deployment/web", "--kubeconfig", "/none"}, statusFault, "podstep-2005"},
		{[]string{"yield", "--port", "0"}, statusUsage, "no port"},
		{[]string{"yield", "--port", "80", "--keep"}, statusUsage, "keep port"},
		{[]string{"yield", "web"}, statusUsage, "unknown command"},
	} {
		c := newCall(0, nil)
		if status := c.execute(t.Context(), test.args); status != test.status || !strings.Contains(c.stderr.String(), test.words) || c.stdout.Len() > 0 {
			t.Errorf("%q: status %d, %q, %q; want %d and %q", test.args, status, c.stdout.String(), c.stderr.String(), test.status, test.words)
		}
	}
}

func TestReplyIsTheExitStatus(t *testing.T) {
	thief := &cluster.Thief{Ports: []uint16{80, 81}}
	thief.Name, thief.Session.Session = "alice@laptop", "k3"
	for reply, want := range map[wire.Reply]struct {
		status int
		words  string
	}{
		wire.ReplyReleased: {0, "alice@laptop released port 80 of deployment/web\n"},
		wire.ReplyEnded:    {0, "port 80 of deployment/web is free: the session of alice@laptop has ended\n"},
		wire.ReplyKept:     {3, "alice@laptop keeps port 80 of deployment/web\n"},
		wire.ReplyNone:     {4, "alice@laptop did not answer, and still has port 80 of deployment/web\n"},
	} {
		c := newCall(0, nil)
		err := c.printReply(thief, reply, 80, config.Target{Kind: "deployment", Name: "web"})
		var status exitStatus
		if errors.As(err, &status); int(status) != want.status || c.stdout.String() != want.words {
			t.Errorf("%s: status %d, %q", reply, status, c.stdout.String())
		}
	}
}

// ports are a session's that steals 80 and 81.
type ports struct{ left []uint16 }

func (p *ports) Yield(_ context.Context, which []uint16) ([]uint16, error) {
	if len(which) == 0 {
		which = slices.Clone(p.left)
	}
	for _, port := range which {
		if !slices.Contains(p.left, port) {
			return nil, errors.New("the session does not steal it")
		}
	}
	p.left = slices.DeleteFunc(p.left, func(port uint16) bool { return slices.Contains(which, port) })
	return which, nil
}

func (p *ports) Keep(context.Context, uint64) int { return 2 }

func TestYieldReachesTheOneSessionThatSteals(t *testing.T) {
	runtime := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	t.Setenv("TMPDIR", t.TempDir())
	start := func(name, mode string) *ports {
		dir := filepath.Join(runtime, "podstep", name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		p := &ports{left: []uint16{80, 81}}
		s, err := local.Serve(t.Context(), dir, local.Session{Target: "deployment/" + name, Mode: mode}, requests.New(requests.Options{}), p, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return p
	}
	says := func(wantStatus int, want string, args ...string) {
		t.Helper()
		c := newCall(0, nil)
		if status := c.execute(t.Context(), args); status != wantStatus || !strings.Contains(c.stdout.String()+c.stderr.String(), want) {
			t.Errorf("%q: status %d, %q, %q; want %d and %q", args, status, c.stdout.String(), c.stderr.String(), wantStatus, want)
		}
	}
	says(statusFault, "podstep-6010", "yield")
	start("copied", config.ModeMirror)
	says(statusFault, "steals anything", "yield")
	web := start("web", config.ModeSteal)
	says(0, "said no to 2 who asked for ports of deployment/web", "yield", "--keep")
	says(0, "released port 81 of deployment/web", "yield", "--port", "81")
	says(statusFault, "does not steal it", "yield", "--port", "81")
	shop := start("shop", config.ModeSteal)
	says(statusUsage, "choose one with --session", "yield")
	says(0, `"ports"`, "yield", "--session", "shop", "-o", "json")
	if !slices.Equal(web.left, []uint16{80}) || len(shop.left) != 0 {
		t.Errorf("left: %v and %v", web.left, shop.left)
	}
}
