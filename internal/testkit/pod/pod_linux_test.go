package pod_test

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/pod"
)

func TestMain(m *testing.M) {
	pod.Main()
	os.Exit(m.Run())
}

var address = netip.MustParseAddr("10.42.0.7")

// start makes a pod, or skips the test where this machine does not let this user make one.
func start(t *testing.T, opts pod.Options) *pod.Pod {
	t.Helper()
	opts.Output = t.Output()
	p, err := pod.Start(opts)
	if errors.Is(err, pod.ErrNotAllowed) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// run runs a program in the pod and returns what it printed.
func run(t *testing.T, p *pod.Pod, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	proc, err := p.Exec(pod.Command{Args: args, Stdout: &out, Stderr: t.Output(), Env: []string{"PATH=" + os.Getenv("PATH")}})
	if err != nil {
		t.Fatal(err)
	}
	if status := proc.Wait(); status != 0 {
		t.Fatalf("%q: status %v\n%s", args, status, out.String())
	}
	return out.String()
}

func TestPodHasANetworkOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, userNamespace := range []bool{false, true} {
		t.Run("userNamespace="+strconv.FormatBool(userNamespace), func(t *testing.T) {
			t.Parallel()
			p := start(t, pod.Options{
				Hostname: "shop-0", UserNamespace: userNamespace,
				Addresses: []netip.Addr{address, netip.MustParseAddr("fd00:42::7")},
				Names:     map[string]netip.Addr{"stock": address, "Six.shop.svc.cluster.local": netip.MustParseAddr("fd00:42::7")},
			})
			got := run(t, p, "sh", "-c", "hostname; cat /etc/resolv.conf; getent hosts stock; getent ahosts six; ip -o addr show lo; ip route; ls /etc/passwd; id -u")
			for _, want := range []string{
				"shop-0\n", "nameserver 10.42.0.53\nsearch shop.svc.cluster.local", "10.42.0.7", "stock.shop.svc.cluster.local",
				"fd00:42::7", "inet 10.42.0.7/32 scope global", "/etc/passwd\n0\n",
			} {
				if !strings.Contains(got, want) {
					t.Errorf("the pod shows\n%swithout %q", got, want)
				}
			}
			if strings.Contains(got, "default") {
				t.Errorf("the pod has a route out:\n%s", got)
			}
		})
	}
}

func TestRootWithoutCapabilitiesUsesAUserNamespace(t *testing.T) {
	t.Parallel()
	setpriv, err := exec.LookPath("setpriv")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and setpriv")
	}
	cmd := exec.Command(setpriv, "--bounding-set=-all", "--inh-caps=-all", os.Args[0], "-test.v", "-test.run=^TestPodHasANetworkOfItsOwn$/userNamespace=false")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestStartTellsThatNamespacesAreNotAllowed(t *testing.T) {
	t.Parallel()
	if os.Getenv("POD_NOT_ALLOWED") != "" {
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
			t.Skip(err)
		}
		if _, err := pod.Start(pod.Options{UserNamespace: true}); !errors.Is(err, pod.ErrNotAllowed) {
			t.Errorf("got %v", err)
		}
		return
	}
	// The limit is written in a user namespace of the test's own: it counts there only (namespaces(7)).
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run=^TestStartTellsThatNamespacesAreNotAllowed$")
	cmd.Env = append(os.Environ(), "POD_NOT_ALLOWED=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("user namespaces are not allowed")
	}
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestPodKnowsNoNameOfTheMachine(t *testing.T) {
	t.Parallel()
	p := start(t, pod.Options{Names: map[string]netip.Addr{"stock": address}})
	got := run(t, p, "sh", "-c", "getent hosts nowhere.example; echo status $?; getent ahostsv6 stock | grep -v ::ffff; true")
	if want := "status 2\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestServiceIsNamedByItsPidOfThisMachine(t *testing.T) {
	t.Parallel()
	p := start(t, pod.Options{Command: []string{"sleep", "1000"}, Env: []string{"STAGE=pod"}})
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID()) + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	if string(environ) != "STAGE=pod\x00" {
		t.Errorf("environment of process %d is %q", p.PID(), environ)
	}
	if err := p.Service().Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := p.Service().Wait(); status.Signal() != syscall.SIGTERM {
		t.Errorf("the service ended with %v", status)
	}
}

func TestExecRefusesWhatIsNoProgram(t *testing.T) {
	t.Parallel()
	p := start(t, pod.Options{})
	if _, err := p.Exec(pod.Command{Args: []string{"/no/such/program"}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestCloseEndsOrphansToo(t *testing.T) {
	t.Parallel()
	p := start(t, pod.Options{})
	mark := "31" + strconv.Itoa(os.Getpid())
	run(t, p, "sh", "-c", "setsid sleep "+mark+" >/dev/null 2>&1 & exit 0")
	testkit.Eventually(t, "the orphan runs", func() bool { return running(t, mark) })
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if running(t, mark) {
		t.Error("the orphan outlived the pod")
	}
}

func TestPodEndsWithItsMaker(t *testing.T) {
	t.Parallel()
	if os.Getenv("POD_MAKER") != "" {
		start(t, pod.Options{Command: []string{"sleep", os.Getenv("POD_MAKER")}})
		_, _ = os.Stdout.WriteString("ready\n")
		select {}
	}
	mark := "32" + strconv.Itoa(os.Getpid())
	maker := exec.Command(os.Args[0], "-test.run=^TestPodEndsWithItsMaker$")
	maker.Env = append(os.Environ(), "POD_MAKER="+mark)
	out, err := maker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := maker.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 6)); err != nil {
		t.Fatalf("no pod was made: %v", err)
	}
	testkit.Eventually(t, "the service runs", func() bool { return running(t, mark) })
	if err := maker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = maker.Wait()
	testkit.Eventually(t, "the pod is gone", func() bool { return !running(t, mark) })
}

// running says whether "sleep mark" runs on this machine.
func running(t *testing.T, mark string) bool {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if string(line) == "sleep\x00"+mark+"\x00" {
			return true
		}
	}
	return false
}
