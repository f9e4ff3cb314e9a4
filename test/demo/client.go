package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// clientPart is the argument that makes the demo the client in the pod: URL, source address, interval.
const clientPart = "client"

// reply is what one request came to, one line of JSON each.
type reply struct {
	Began  time.Time     `json:"began"`
	Took   time.Duration `json:"took"`
	Source string        `json:"source"`
	Cart   struct {
		ID         string `json:"id"`
		Price      int    `json:"price"`
		AnsweredBy string `json:"answeredBy"`
		Hostname   string `json:"hostname"`
		Client     string `json:"client"`
	} `json:"cart"`
	Error string `json:"error,omitempty"`
}

func (r reply) ended() time.Time { return r.Began.Add(r.Took) }

// playClient asks for url from the address source every interval until ctx ends, each time on a new connection, and
// prints each reply. A request that takes long does not hold up the next.
func playClient(ctx context.Context, url, source, interval string) error {
	every, err := time.ParseDuration(interval)
	if err != nil {
		return err
	}
	var lines sync.Mutex
	out := json.NewEncoder(os.Stdout)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		go func() {
			r := ask(ctx, url, net.ParseIP(source))
			lines.Lock()
			defer lines.Unlock()
			_ = out.Encode(r)
		}()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func ask(ctx context.Context, url string, source net.IP) (r reply) {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: source}, Timeout: 2 * time.Second}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err == nil {
				r.Source = conn.LocalAddr().String()
			}
			return conn, err
		},
	}}
	r.Began = time.Now()
	err := get(ctx, client, url, &r.Cart)
	r.Took = time.Since(r.Began)
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

func get(ctx context.Context, client *http.Client, url string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %.200s", response.Status, body)
	}
	return json.Unmarshal(body, into)
}

// replies collects what a client prints. It is an io.Writer of lines.
type replies struct {
	mu      sync.Mutex
	partial []byte
	all     []reply
	changed chan struct{}
}

func newReplies() *replies { return &replies{changed: make(chan struct{})} }

func (r *replies) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.partial = append(r.partial, b...)
	for {
		decoded := reply{}
		n, err := firstLine(r.partial, &decoded)
		if n == 0 {
			break
		}
		r.partial = r.partial[n:]
		if err == nil {
			r.all = append(r.all, decoded)
		}
	}
	close(r.changed)
	r.changed = make(chan struct{})
	return len(b), nil
}

// firstLine decodes the first whole line of b, and says how long it is; 0: there is none.
func firstLine(b []byte, into any) (int, error) {
	for i, c := range b {
		if c == '\n' {
			return i + 1, json.Unmarshal(b[:i], into)
		}
	}
	return 0, nil
}

// that returns the replies for which want is true.
func (r *replies) that(want func(reply) bool) (found []reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.all {
		if want(one) {
			found = append(found, one)
		}
	}
	return found
}

// await waits for a reply for which want is true.
func (r *replies) await(ctx context.Context, what string, want func(reply) bool) (reply, error) {
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		if found := r.that(want); len(found) > 0 {
			return found[0], nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return reply{}, fmt.Errorf("%s: %w; the client's last replies: %s", what, context.Cause(ctx), r.last())
		}
	}
}

// last describes the last replies, for the text of a failure.
func (r *replies) last() string {
	all := r.that(func(reply) bool { return true })
	if len(all) == 0 {
		return "none"
	}
	text, err := json.Marshal(all[max(0, len(all)-3):])
	return string(text) + errorText(err)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// by says that a reply began after since and came from who.
func by(who string, since time.Time) func(reply) bool {
	return func(r reply) bool { return r.Error == "" && r.Cart.AnsweredBy == who && r.Began.After(since) }
}

var errNotSeen = errors.New("a claim of the story was not seen")
