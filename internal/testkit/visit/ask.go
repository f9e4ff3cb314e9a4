package visit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits of the customer's patience.
const (
	dialing   = 2 * time.Second
	answering = 20 * time.Second
)

// Customer asks the shop at URL.
type Customer struct {
	// URL is the shop's, "http://10.0.0.7:80".
	URL string
	// Every is the time between the beginnings of two requests. If zero, 20 ms.
	Every time.Duration
	// Limit is the number of requests. If zero, 100,000.
	Limit int
	// Party is the value of the requests' PartyHeader. If empty, they have none.
	Party string
	// From is the customer's own address. If nil, the kernel chooses.
	From net.IP
	// Keep makes all requests on one connection, one after the other, as long as it is kept.
	Keep bool
}

// Run makes the requests and writes each as a line of JSON when it has ended. It returns when all were made, when ctx ends,
// or with the first error of out.
func (c Customer) Run(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if c.Every == 0 {
		c.Every = 20 * time.Millisecond
	}
	if c.Limit == 0 {
		c.Limit = 100_000
	}
	dialer := net.Dialer{Timeout: dialing}
	if c.From != nil {
		dialer.LocalAddr = &net.TCPAddr{IP: c.From}
	}
	transport := &http.Transport{DisableKeepAlives: !c.Keep, DialContext: dialer.DialContext}
	if c.Keep {
		transport.MaxConnsPerHost = 1
	}
	var (
		asking sync.WaitGroup
		mu     sync.Mutex
		lines  = json.NewEncoder(out)
	)
	defer asking.Wait()
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	for n := range c.Limit {
		asking.Go(func() {
			r := c.ask(ctx, transport, n)
			mu.Lock()
			defer mu.Unlock()
			if err := lines.Encode(r); err != nil {
				cancel(err)
			}
		})
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (c Customer) ask(ctx context.Context, transport http.RoundTripper, n int) (r Request) {
	r.N, r.Began = n, time.Now()
	defer func() { r.Took = time.Since(r.Began) }()
	if err := c.askFor(ctx, transport, &r); err != nil {
		r.Error = err.Error()
	}
	return r
}

func (c Customer) askFor(ctx context.Context, transport http.RoundTripper, r *Request) error {
	ctx, cancel := context.WithTimeout(ctx, answering)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/cart/%d", c.URL, r.N), nil)
	if err != nil {
		return err
	}
	if c.Party != "" {
		q.Header.Set(PartyHeader, c.Party)
	}
	answer, err := transport.RoundTrip(q)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", answer.Status, body)
	}
	var got cart
	if err := json.Unmarshal(body, &got); err != nil {
		return err
	}
	r.By, r.Host, r.Seen, r.Price = got.AnsweredBy, got.Hostname, got.Client, got.Price
	return nil
}
