package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// TLS is how TLS is made to the debuggee.
type TLS struct {
	// Client is shown to a debuggee that asks its clients for a certificate. If nil, none is.
	Client *tls.Certificate
}

// handshakeTimeout is less than the agent waits for the answer to a stream (5 s).
const handshakeTimeout = 4 * time.Second

// secure makes TLS over a connection to the debuggee, which it owns, as the client of h did.
func (t *Tunnel) secure(ctx context.Context, conn splice.Conn, h wire.Header) (splice.Conn, error) {
	how, ok := t.TLS[h.Port]
	if !ok {
		return conn, nil
	}
	config := &tls.Config{
		ServerName: h.TLS.ServerName,
		// It is this machine's loopback, and a certificate that is none of the target's will do there.
		InsecureSkipVerify: true, //nolint:gosec // see above
	}
	if h.TLS.Protocol != "" {
		config.NextProtos = []string{h.TLS.Protocol}
	}
	if how.Client != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return how.Client, nil }
	}
	client := tls.Client(netConn{conn}, config)
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	err := client.HandshakeContext(ctx)
	if err == nil {
		err = agreed(h.TLS.Protocol, client.ConnectionState().NegotiatedProtocol)
	}
	if err != nil {
		splice.Reset(conn)
		if stopped, _ := t.gate.now(); !stopped && !errors.Is(ctx.Err(), context.Canceled) {
			t.tlsFailed(h.Port, err)
		}
		return nil, &wire.Refusal{Errno: syscall.EPROTO, Text: "TLS with the debuggee: " + err.Error()}
	}
	return &secured{client, conn, func(err error) { t.tlsFailed(h.Port, err) }}, nil
}

func (t *Tunnel) tlsFailed(port uint16, err error) {
	if t.TLSFailed != nil {
		t.TLSFailed(port, err)
	}
}

// agreed says whether the debuggee speaks what was agreed upon with the client. A server of HTTP/1 need not know of the choice.
func agreed(want, got string) error {
	if got == want || got == "" && want == "http/1.1" {
		return nil
	}
	return fmt.Errorf("it does not speak %q, which the target and the client have agreed upon", want)
}

// secured is TLS over a connection to the debuggee.
type secured struct {
	*tls.Conn
	below splice.Conn
	// failed is told of the debuggee's alerts.
	failed func(error)
}

// Read is that of TLS. By TLS 1.3 a server that wants a certificate says so behind the handshake.
func (s *secured) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		s.failed(err)
	}
	return n, err
}

// CloseWrite ends the half of TLS, and that of the connection.
func (s *secured) CloseWrite() error { return errors.Join(s.Conn.CloseWrite(), s.below.CloseWrite()) }

// Reset resets the connection below.
func (s *secured) Reset() { splice.Reset(s.below) }

// netConn lets TLS use a connection. One that is no socket has no deadlines: who waits too long closes it.
type netConn struct{ splice.Conn }

func (c netConn) LocalAddr() net.Addr {
	if a, ok := c.Conn.(interface{ LocalAddr() net.Addr }); ok {
		return a.LocalAddr()
	}
	return nil
}

func (c netConn) RemoteAddr() net.Addr {
	if a, ok := c.Conn.(interface{ RemoteAddr() net.Addr }); ok {
		return a.RemoteAddr()
	}
	return nil
}

func (c netConn) SetDeadline(at time.Time) error {
	if d, ok := c.Conn.(interface{ SetDeadline(time.Time) error }); ok {
		return d.SetDeadline(at)
	}
	return nil
}

func (c netConn) SetReadDeadline(at time.Time) error {
	if d, ok := c.Conn.(interface{ SetReadDeadline(time.Time) error }); ok {
		return d.SetReadDeadline(at)
	}
	return nil
}

func (c netConn) SetWriteDeadline(at time.Time) error {
	if d, ok := c.Conn.(interface{ SetWriteDeadline(time.Time) error }); ok {
		return d.SetWriteDeadline(at)
	}
	return nil
}
