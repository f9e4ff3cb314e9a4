package exec

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	corev1 "k8s.io/api/core/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"podstep.dev/internal/logging"
)

// session is a program over SPDY, with a stream of the connection for each of its own. Its goroutines: two readers, of
// standard error and of the status, and those of spdystream; all end with the connection.
type session struct {
	conn          net.Conn
	spdy          httpstream.Connection
	stdin, stdout httpstream.Stream
	words         *logging.Words

	readers sync.WaitGroup
	status  []byte // once readers are done
}

func (d *Dialer) dialSPDY(ctx context.Context, call Call, words *logging.Words) (pipe, error) {
	conn, err := d.upgrade(ctx, call)
	if err != nil {
		return nil, err
	}
	// A context that ends closes the connection, with which all else ends.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	connection, err := spdy.NewClientConnection(conn)
	if err != nil {
		stop()
		return nil, err
	}
	s := &session{conn: conn, spdy: connection, words: words}
	err = s.open()
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// open makes the program's streams; the server waits for all of them.
func (s *session) open() error {
	streams := map[string]httpstream.Stream{}
	for _, kind := range []string{corev1.StreamTypeError, corev1.StreamTypeStdin, corev1.StreamTypeStdout, corev1.StreamTypeStderr} {
		headers := http.Header{}
		headers.Set(corev1.StreamType, kind)
		stream, err := s.spdy.CreateStream(headers)
		if err != nil {
			return fmt.Errorf("open stream %s: %w", kind, err)
		}
		streams[kind] = stream
	}
	s.stdin, s.stdout = streams[corev1.StreamTypeStdin], streams[corev1.StreamTypeStdout]
	s.readers.Go(func() { _, _ = io.Copy(s.words, streams[corev1.StreamTypeStderr]) })
	s.readers.Go(func() { s.status, _ = io.ReadAll(io.LimitReader(streams[corev1.StreamTypeError], maxStatus)) })
	return nil
}

func (s *session) Read(b []byte) (int, error) {
	n, err := s.stdout.Read(b)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	s.readers.Wait()
	return n, verdict(s.status, s.words.Tail(), nil)
}

func (s *session) Write(b []byte) (int, error) { return s.stdin.Write(b) }

// Close closes the connection below SPDY, because SPDY's own farewell waits for a network that does not answer.
func (s *session) Close() error {
	err := s.conn.Close()
	<-s.spdy.CloseChan()
	s.readers.Wait()
	return err
}

// upgrade asks for the program to be run over SPDY.
func (d *Dialer) upgrade(ctx context.Context, call Call) (net.Conn, error) {
	tls, err := rest.TLSConfigFor(d.Config)
	if err != nil {
		return nil, err
	}
	proxy := d.Config.Proxy
	if proxy == nil {
		proxy = utilnet.NewProxierWithNoProxyCIDR(http.ProxyFromEnvironment)
	}
	dialer, err := spdy.NewRoundTripperWithConfig(spdy.RoundTripperConfig{TLS: tls, Proxier: proxy})
	if err != nil {
		return nil, err
	}
	u := &upgrader{dial: dialer.Dial}
	wrapped, err := rest.HTTPWrappersForConfig(d.Config, u)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url(call), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set(httpstream.HeaderProtocolVersion, remotecommand.StreamProtocolV4Name)
	resp, err := wrapped.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return u.conn, nil
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxStatus))
	_ = u.conn.Close()
	return nil, refusal(resp.StatusCode, body)
}

// upgrader makes one request on a connection of its own, which it keeps.
type upgrader struct {
	dial func(*http.Request) (net.Conn, error)
	conn net.Conn
}

func (u *upgrader) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set(httpstream.HeaderConnection, httpstream.HeaderUpgrade)
	req.Header.Set(httpstream.HeaderUpgrade, spdy.HeaderSpdy31)
	conn, err := u.dial(req)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(req.Context(), func() { _ = conn.Close() })
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if !stop() {
		err = context.Cause(req.Context())
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	u.conn = conn
	return resp, nil
}
