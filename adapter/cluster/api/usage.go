package api

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Usage is what was asked of the API server since Connect.
type Usage struct {
	// Requests counts HTTP requests, a watch and an exec as one each.
	Requests int64
	// Sent and Received count bytes on the connections, TLS included, but not those of exec, which has its own connection.
	Sent, Received int64
}

// Usage returns the numbers so far.
func (c *Cluster) Usage() Usage {
	return Usage{c.usage.requests.Load(), c.usage.sent.Load(), c.usage.received.Load()}
}

type usage struct{ requests, sent, received atomic.Int64 }

func (u *usage) dial(ctx context.Context, d *net.Dialer, network, address string) (net.Conn, error) {
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &countedConn{conn, u}, nil
}

// countedConn counts a connection's bytes.
type countedConn struct {
	net.Conn
	usage *usage
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.usage.received.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.usage.sent.Add(int64(n))
	return n, err
}

// counter counts and logs requests.
type counter struct {
	next    http.RoundTripper
	cluster *Cluster
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.cluster.usage.requests.Add(1)
	began := time.Now()
	response, err := c.next.RoundTrip(r)
	if line := c.cluster.log.Check(zap.DebugLevel, "request"); line != nil {
		status := 0
		if response != nil {
			status = response.StatusCode
		}
		line.Write(zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Int("status", status), zap.Duration("took", time.Since(began)), zap.Error(err))
	}
	return response, err
}

// WrappedRoundTripper lets client-go find the transport below.
func (c *counter) WrappedRoundTripper() http.RoundTripper { return c.next }
