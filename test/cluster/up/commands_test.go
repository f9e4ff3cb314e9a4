package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podstep.dev/test/cluster/internal/node"
)

func TestParseFaultReadsEachVerb(t *testing.T) {
	for text, want := range map[string]node.Request{
		"restart kubelet":           {Verb: node.Restart, Part: "kubelet"},
		"restart kube-apiserver 5s": {Verb: node.Restart, Part: "kube-apiserver", For: 5 * time.Second},
		"freeze 1m":                 {Verb: node.Freeze, For: time.Minute},
		"cut 100ms":                 {Verb: node.Cut, For: 100 * time.Millisecond},
		"lose":                      {Verb: node.Lose},
		"restore":                   {Verb: node.Restore},
	} {
		if got, err := parseFault(strings.Fields(text)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"restart", "freeze", "freeze x", "freeze -1s", "cut 2h", "lose 1s", "break"} {
		if got, err := parseFault(strings.Fields(text)); err == nil {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

func TestCheckNamesWhatIsMissingAndItsPackages(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	for _, program := range []string{"ip", "nsenter", "bridge", "loopback"} {
		if err := os.WriteFile(filepath.Join(dir, program), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	err := checkPrograms(filepath.Join(dir, "runc"), dir)
	want := "this machine lacks runc (" + dir + "/runc), the network plugin host-local (" + dir + "), nft: " +
		"with Debian, apt-get install --no-install-recommends runc containernetworking-plugins nftables"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestCheckSaysThatTooManyFilesAreWatched(t *testing.T) {
	if err := checkWatchers(1 << 20); err == nil || !strings.Contains(err.Error(), "fs.inotify.max_user_instances") {
		t.Errorf("for a million nodes: %v", err)
	}
	if err := checkWatchers(0); err != nil {
		t.Error(err)
	}
}

func TestStateDirectoryIsEmptiedAndLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	lock, err := claimState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kubeconfig"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := claimState(dir); err == nil || !strings.Contains(err.Error(), "another cluster is running") {
		t.Errorf("a second cluster gets %v", err)
	}
	lock.Close()
	lock, err = claimState(dir)
	if err != nil {
		t.Fatal(err)
	}
	lock.Close()
	if _, err := os.Stat(filepath.Join(dir, "kubeconfig")); !os.IsNotExist(err) {
		t.Errorf("the kubeconfig of the cluster before: %v", err)
	}
}

func TestForeignDirectoryIsNoStateDirectory(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, "/run/state", "/var/lib/state", filepath.Join(dir, "my state")} {
		if lock, err := claimState(d); err == nil {
			lock.Close()
			t.Errorf("%s is taken", d)
		}
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}
