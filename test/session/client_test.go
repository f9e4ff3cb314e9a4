//go:build linux

package session

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"podstep.dev/internal/testkit/pod"
)

// The addresses of the pod and of the client that asks it.
const (
	podAddress    = "10.42.0.7"
	clientAddress = "10.42.0.9"
)

// request is one that the client made; it prints them as JSON.
type request struct {
	Began time.Time     `json:"began"`
	Took  time.Duration `json:"took"`
	By    string        `json:"by"` // who answered, empty if nobody
	Seen  string        `json:"seen"`
	Price int           `json:"price"`
	Error string        `json:"error,omitempty"`
}

func (r request) ended() time.Time { return r.Began.Add(r.Took) }

// runClient is the role "client": a new connection for each request, the next one begins whatever becomes of the last.
func runClient() {
	http.DefaultTransport = &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{
		LocalAddr: &net.TCPAddr{IP: net.ParseIP(clientAddress)}, Timeout: 2 * time.Second,
	}).DialContext}
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	tick := time.NewTicker(20 * time.Millisecond)
	for n := 0; n < 20_000; n++ { // bounded: 400 s
		go func() {
			r := ask(n)
			mu.Lock()
			defer mu.Unlock()
			if out.Encode(r) != nil {
				os.Exit(0)
			}
		}()
		<-tick.C
	}
	os.Exit(0)
}

func ask(n int) (r request) {
	r.Began = time.Now()
	defer func() { r.Took = time.Since(r.Began) }()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/cart/%d", podAddress, n), nil)
	if err != nil {
		r.Error = err.Error()
		return r
	}
	answer, err := http.DefaultTransport.RoundTrip(q)
	if err != nil {
		r.Error = err.Error()
		return r
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	var cart struct {
		AnsweredBy, Client string
		Price              int
	}
	if err == nil && answer.StatusCode == http.StatusOK {
		err = json.Unmarshal(body, &cart)
	} else if err == nil {
		err = fmt.Errorf("%s: %s", answer.Status, body)
	}
	if err != nil {
		r.Error = err.Error()
		return r
	}
	r.By, r.Seen, r.Price = cart.AnsweredBy, cart.Client, cart.Price
	return r
}

// client is a running client in the pod and what it did.
type client struct {
	mu       sync.Mutex
	requests []request
}

func startClient(t *testing.T, p *pod.Pod) *client {
	t.Helper()
	r, w := io.Pipe()
	proc, err := p.Exec(pod.Command{Args: []string{filepath.Join(kit, "self")}, Env: []string{roleVar + "=client"}, Stdout: w, Stderr: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	c := &client{}
	var read sync.WaitGroup
	read.Go(func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			var q request
			if json.Unmarshal(lines.Bytes(), &q) == nil {
				c.mu.Lock()
				c.requests = append(c.requests, q)
				c.mu.Unlock()
			}
		}
	})
	t.Cleanup(func() {
		_ = proc.Signal(9)
		proc.Wait()
		_ = w.Close()
		read.Wait()
	})
	return c
}

// first returns the first request that began after since and that want holds for.
func (c *client) first(since time.Time, want func(request) bool) (request, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.requests {
		if r.Began.After(since) && want(r) {
			return r, true
		}
	}
	return request{}, false
}

// failed returns the requests that were under way after since and that nobody answered.
func (c *client) failed(since time.Time) (failed []request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.requests {
		if r.ended().After(since) && r.By == "" {
			failed = append(failed, r)
		}
	}
	return failed
}

func by(who string) func(request) bool {
	return func(r request) bool { return r.By == who }
}

func summary(requests []request) string {
	var b strings.Builder
	for _, r := range requests[:min(len(requests), 5)] {
		fmt.Fprintf(&b, "\n  %s after %v: %s", r.Began.Format("05.000"), r.Took.Round(time.Millisecond), r.Error)
	}
	return b.String()
}
