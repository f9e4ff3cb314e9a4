//go:build linux

package main

import (
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// another is a user without any privilege.
const another = 12345

// noDoor is a path at which that user may make no socket, like any in a container's /dev.
func noDoor(t *testing.T) string {
	t.Helper()
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir + "/sock"
}

// simpleShop is a program that serves HTTP as another user may run it.
func simpleShop() {
	_ = http.ListenAndServe(shop, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Server", "SimpleHTTP") }))
}

// asAnother makes a program of that user's.
func asAnother(cmd *exec.Cmd) *exec.Cmd {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: another, Gid: another, NoSetGroups: true}
	return cmd
}

// confined makes a program of root's with no more than some capabilities, named as for setpriv(1).
func confined(t *testing.T, cmd *exec.Cmd, capabilities string) *exec.Cmd {
	t.Helper()
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path = setpriv
	cmd.Args = append([]string{"setpriv", "--inh-caps", "-all", "--bounding-set", "-all," + capabilities, self}, cmd.Args[1:]...)
	return cmd
}

// anothersTarget runs a program of another user's in a container's cgroup, and makes the client's network.
func anothersTarget(t *testing.T, group string) (*testpod.Client, *exec.Cmd) {
	t.Helper()
	client := testpod.NewClient(t)
	cmd := asAnother(testpod.Helper(t, "shop"))
	serveIn(t, shop, cmd)
	group = newCgroup(t, group)
	t.Cleanup(func() { emptyCgroup(t, group) })
	if err := os.WriteFile(group+"/cgroup.procs", []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	return client, cmd
}

const shop = testpod.Pod4 + ":8080"

func TestAgentWithoutPrivilegesServesInTheProgramThatJoins(t *testing.T) {
	if testpod.Ordinary() {
		t.Skip("needs root: two users are needed")
	}
	container := strings.Repeat("fedcba9876543210", 4)
	client, _ := anothersTarget(t, "crio-"+container+".scope")
	socket := noDoor(t)
	r := runResident(t, socket, asAnother(residentCommand(t, socket, "--container", container, "--unjoined", "10s")))
	r.says("each session is served by the program that joins")
	a := r.join("alice@laptop", "a1")
	d, err := a.client.Describe(t.Context(), wire.DescribeParams{Environment: true})
	if err != nil || d.Hostname != "web-0" || !strings.Contains(strings.Join(d.Environment, "\n"), "PODSTEP_TEST_VALUE=from the pod") {
		t.Errorf("hostname %q, %d variables, %v", d.Hostname, len(d.Environment), err)
	}
	st, err := a.link.Open(t.Context(), wire.Header{Kind: wire.KindDial, Address: netip.MustParseAddrPort(shop)}, []byte("GET / HTTP/1.0\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(st); err != nil || !strings.Contains(string(text), "SimpleHTTP") {
		t.Errorf("dialled: %q, %v", text, err)
	}
	_ = st.Close()
	for mode, capability := range map[wire.Mode]string{wire.ModeSteal: "NET_ADMIN", wire.ModeMirror: "NET_RAW"} {
		if refusal := a.refusedTo(t, mode, 8080); refusal.Reason != wire.ReasonDenied || !strings.Contains(refusal.Text, "lacks the capability "+capability) {
			t.Errorf("%s: told %+v", mode, refusal)
		}
	}
	if who := whoServes(client, shop, 10*time.Second); who != "target" {
		t.Errorf("served by %s", who)
	}
	if err := a.client.Paused(t.Context(), wire.PausedParams{Paused: true}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the session is listed", func() bool {
		list := r.sessions()
		return len(list) == 1 && list[0].Name == "alice@laptop" && list[0].Session == "a1" && list[0].Paused
	})
	// The resident sees the session as long as it lives, and hears its farewell.
	began := time.Now()
	a.leave(t, 1)
	if status := r.ends(testkit.Patience); status != 0 || !strings.Contains(r.log.String(), "podstep-agent: the last session is over") {
		t.Errorf("exit status %d", status)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("gone after %s", took)
	}
}

func TestAgentWithoutPrivilegesWaitsForALostSession(t *testing.T) {
	if testpod.Ordinary() {
		t.Skip("needs root: two users are needed")
	}
	began := time.Now()
	socket := noDoor(t)
	r := runResident(t, socket, asAnother(residentCommand(t, socket, "--unjoined", "4s")))
	r.says("each session is served by the program that joins")
	a := r.join("alice@laptop", "a1")
	if _, err := a.client.Describe(t.Context(), wire.DescribeParams{}); err != nil {
		t.Fatal(err)
	}
	// It is there longer than the resident would stay without it.
	testkit.Eventually(t, "time passes", func() bool { return time.Since(began) > 5*time.Second })
	if list := r.sessions(); len(list) != 1 {
		t.Errorf("%d sessions", len(list))
	}
	began = time.Now()
	if err := a.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-a.waited
	status := r.ends(testkit.Patience)
	if took := time.Since(began); status != 0 || took < 3*time.Second || !strings.Contains(r.log.String(), "the last link was lost and no session came back") {
		t.Errorf("exit status %d after %s", status, took)
	}
}

// TestEphemeralCapabilitiesAreEnough drops what an ephemeral container of the agent does not have: it is uid 0 with three
// capabilities, and its target is another user.
func TestEphemeralCapabilitiesAreEnough(t *testing.T) {
	if testpod.Ordinary() {
		t.Skip("needs root: two users are needed")
	}
	container := strings.Repeat("00112233445566ff", 4)
	client, target := anothersTarget(t, container)
	const capabilities = "+net_admin,+net_raw,+sys_ptrace"
	dir := t.TempDir()
	r := runResident(t, dir+"/s", confined(t, residentCommand(t, dir+"/s", "--container", container), capabilities))
	r.says("resident")
	if has, want := capabilitiesOf(t, r.Process.Pid), uint64(1<<unix.CAP_NET_ADMIN|1<<unix.CAP_NET_RAW|1<<unix.CAP_SYS_PTRACE); has != want {
		t.Fatalf("the resident has the capabilities %x, want %x", has, want)
	}
	a := startLink(t, wire.Hello{Program: "podstep test", Holder: "alice", Session: "a1"}, confined(t, r.command("join"), capabilities))
	// The way that everybody else takes is closed.
	cat := exec.CommandContext(t.Context(), "setpriv", "--inh-caps", "-all", "--bounding-set", "-all,"+capabilities, "cat", "/proc/"+strconv.Itoa(target.Process.Pid)+"/environ")
	if out, err := cat.CombinedOutput(); err == nil || !strings.Contains(string(out), "Permission denied") {
		t.Errorf("the environment's file can be read: %v", err)
	}
	d, err := a.client.Describe(t.Context(), wire.DescribeParams{Environment: true})
	if err != nil || !strings.Contains(strings.Join(d.Environment, "\n"), "PODSTEP_TEST_VALUE=from the pod") || d.ResolvConf == "" {
		t.Errorf("%d variables, %d bytes of resolv.conf, %v", len(d.Environment), len(d.ResolvConf), err)
	}
	a.steal(t, 8080)
	if _, err := a.client.Subscribe(t.Context(), wire.SubscribeParams{Port: 8080, Mode: wire.ModeMirror}); err != nil {
		t.Error(err)
	}
	if who := whoServes(client, shop, 10*time.Second); who != "debuggee" {
		t.Errorf("served by %s", who)
	}
}

// capabilitiesOf are a process's effective capabilities.
func capabilitiesOf(t *testing.T, pid int) uint64 {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "CapEff:")
	line, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
	set, err := strconv.ParseUint(line, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
