//go:build linux

package session

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"podstep.dev/internal/testkit/pod"
	"podstep.dev/internal/testkit/visit"
)

// The addresses of the pod and of the client that asks it.
const (
	podAddress    = "10.42.0.7"
	clientAddress = "10.42.0.9"
)

// runClient is the role "client", or "regular".
func runClient(keep bool) {
	c := visit.Customer{URL: "http://" + podAddress, From: net.ParseIP(clientAddress), Limit: 20_000, Keep: keep} // 400 s
	if err := c.Run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(0)
}

// startClient starts a client in the pod, by its role, and returns what it does.
func startClient(t *testing.T, p *pod.Pod, role string) *visit.Book {
	t.Helper()
	r, w := io.Pipe()
	proc, err := p.Exec(pod.Command{Args: []string{filepath.Join(kit, "self")}, Env: []string{roleVar + "=" + role}, Stdout: w, Stderr: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	book := &visit.Book{}
	var read sync.WaitGroup
	read.Go(func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			var q visit.Request
			if json.Unmarshal(lines.Bytes(), &q) == nil {
				book.Add(q)
			}
		}
	})
	t.Cleanup(func() {
		_ = proc.Signal(9)
		proc.Wait()
		_ = w.Close()
		read.Wait()
	})
	return book
}
