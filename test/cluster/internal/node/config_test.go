package node

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestEndedClusterIsNotEntered(t *testing.T) {
	c := &Config{State: t.TempDir(), Nodes: Members(2), Me: 1}
	for name, text := range map[string]string{Marker: "", "node1.pid": "11\n", "node2.pid": "22\n"} {
		if err := os.WriteFile(filepath.Join(c.State, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if command, err := c.Enter("true"); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("%v, %v", command, err)
	}
	lock, err := os.Open(filepath.Join(c.State, Marker))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	command, err := c.Enter("true")
	if got := strings.Join(command, " "); err != nil || !strings.HasPrefix(got, "nsenter --target 11 ") || !strings.Contains(got, "-- nsenter --target 22 ") {
		t.Errorf("the second node is entered by %q, %v", got, err)
	}
	if root, err := c.Root(); err != nil || root != "/proc/11/root/proc/22/root" {
		t.Errorf("its root is %s, %v", root, err)
	}
}
