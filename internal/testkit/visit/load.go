package visit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// PartyHeader names the party that a request of a Load is for.
const PartyHeader = "X-Party"

const (
	// loadPatience is for one answer: longer than a debugger in a test stands at a breakpoint, also while a million others are asked for.
	loadPatience = time.Hour
	// loadFailures is how many failures of a party are described.
	loadFailures = 5
	// loadBody is that of a request, in bytes.
	loadBody = 1 << 10
)

// Load asks for several parties in turn, on kept connections, as fast as it is answered. Requests are posted, so that nobody who
// speaks HTTP makes one twice.
type Load struct {
	// URL is where: "http://shop", or "h2c://shop" for HTTP/2 with prior knowledge, on one connection for all.
	URL string
	// Requests is how many there are: number n is /cart/n, for Parties[n%len(Parties)].
	Requests int
	// Connections is how many requests there are at a time: each on a connection of its own, or on a stream. If zero, 1.
	Connections int
	// Parties are the values of the requests' PartyHeader. "" is a request without one.
	Parties []string
	// Get has requests without a body.
	Get bool
}

// Share is how it went with the requests of one party.
type Share struct {
	Party string
	// By counts the answers by who gave them, and those that were an error by their status.
	By map[string]int
	// Failed counts the requests that nobody answered. Failures are the first of them.
	Failed   int
	Failures []string
	// P50, P99 and Slowest are of all requests, until the whole answer was there.
	P50, P99, Slowest time.Duration
}

// Shares is how it went with a load.
type Shares struct {
	// Shares are in the order of the parties.
	Shares []Share
	// Dialled counts the connections that were made. net/http makes another one, too, when it has seen an answer 50 ms before it knew that its
	// own request had been sent. Dropped are those that the other side ended.
	Dialled, Dropped int
	Took             time.Duration
}

// loading is a load under way.
type loading struct {
	Load
	next, dialled, dropped atomic.Int64

	mu     sync.Mutex
	shares []Share
	took   [][]time.Duration
}

// Run makes the requests. It returns when all were made or ctx ends.
func (l Load) Run(ctx context.Context) Shares {
	g := &loading{Load: l, took: make([][]time.Duration, len(l.Parties))}
	for _, party := range l.Parties {
		g.shares = append(g.shares, Share{Party: party, By: map[string]int{}})
	}
	began := time.Now()
	var all sync.WaitGroup
	shop, streams := strings.CutPrefix(g.URL, "h2c://")
	transport := g.transport()
	if streams {
		g.URL = "http://" + shop
		transport.Protocols = &http.Protocols{}
		transport.Protocols.SetUnencryptedHTTP2(true)
		transport.MaxConnsPerHost = 1
	}
	for range max(l.Connections, 1) {
		own := transport
		if !streams {
			own = g.transport()
		}
		all.Go(func() {
			g.ask(ctx, own)
			if own != transport {
				own.CloseIdleConnections()
			}
		})
	}
	all.Wait()
	transport.CloseIdleConnections() // before, it would end between two requests the one that the others share
	for i, took := range g.took {
		if slices.Sort(took); len(took) > 0 {
			s := &g.shares[i]
			s.P50, s.P99, s.Slowest = took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
		}
	}
	return Shares{Shares: g.shares, Dialled: int(g.dialled.Load()), Dropped: int(g.dropped.Load()), Took: time.Since(began)}
}

// transport counts its connections.
func (g *loading) transport() *http.Transport {
	dialer := net.Dialer{Timeout: dialing}
	return &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		g.dialled.Add(1)
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &counted{Conn: conn, dropped: &g.dropped}, nil
	}}
}

// counted is a connection that counts itself when the other side ends it.
type counted struct {
	net.Conn
	closed  atomic.Bool
	dropped *atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && !c.closed.Swap(true) {
		c.dropped.Add(1)
	}
	return n, err
}

func (c *counted) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}

// ask makes the next request, again and again.
func (g *loading) ask(ctx context.Context, transport *http.Transport) {
	for ctx.Err() == nil {
		n := int(g.next.Add(1)) - 1
		if n >= g.Requests {
			return
		}
		began := time.Now()
		by, err := g.one(ctx, transport, n)
		g.note(n%len(g.Parties), n, by, err, time.Since(began))
	}
}

// note counts one request.
func (g *loading) note(party, n int, by string, err error, took time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.took[party] = append(g.took[party], took)
	s := &g.shares[party]
	if err == nil {
		s.By[by]++
		return
	}
	if s.Failed++; len(s.Failures) < loadFailures {
		s.Failures = append(s.Failures, fmt.Sprintf("%d: %v", n, err))
	}
}

// one makes one request and says who answered it, or with which status.
func (g *loading) one(ctx context.Context, transport http.RoundTripper, n int) (by string, err error) {
	ctx, cancel := context.WithTimeout(ctx, loadPatience)
	defer cancel()
	method, body := http.MethodPost, io.Reader(bytes.NewReader(make([]byte, loadBody)))
	if g.Get {
		method, body = http.MethodGet, nil
	}
	q, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("%s/cart/%d", g.URL, n), body)
	if err != nil {
		return "", err
	}
	if party := g.Parties[n%len(g.Parties)]; party != "" {
		q.Header.Set(PartyHeader, party)
	}
	answer, err := transport.RoundTrip(q)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Sprint(answer.StatusCode), err
	}
	var c cart
	err = json.Unmarshal(text, &c)
	return c.AnsweredBy, err
}
