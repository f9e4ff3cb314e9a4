//go:build linux

package launcher

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"podstep.dev/internal/splice"
)

// The pod of the tests: it exists only in memory.
var (
	podAddress = netip.MustParseAddr("10.201.2.3")
	podSelf    = netip.MustParseAddr("10.201.0.9")
	podService = netip.AddrPortFrom(podAddress, 80)
)

const podName = "web.shop.test."

// memoryLink is a link to the pod of the tests: a service, a resolver, and refusals for all else.
type memoryLink struct {
	conns  chan net.Conn
	closed chan struct{}
	server http.Server
	group  sync.WaitGroup
}

func newMemoryLink() *memoryLink {
	l := &memoryLink{conns: make(chan net.Conn), closed: make(chan struct{})}
	l.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "pod says %s to %s", r.URL.Path, r.Host)
	})
	l.group.Go(func() { _ = l.server.Serve(l) })
	return l
}

// Dial implements intercept.Link.
func (l *memoryLink) Dial(ctx context.Context, to netip.AddrPort) (splice.Conn, netip.AddrPort, error) {
	if to != podService {
		return nil, netip.AddrPort{}, fmt.Errorf("dial %s: %w", to, syscall.ECONNREFUSED)
	}
	near, far, err := connPair()
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	select {
	case l.conns <- far:
		return near, netip.AddrPortFrom(podSelf, 40000), nil
	case <-ctx.Done():
		return nil, netip.AddrPort{}, errors.Join(ctx.Err(), near.Close(), far.Close())
	}
}

// DNS implements intercept.Link.
func (l *memoryLink) DNS(context.Context) (splice.Conn, error) {
	near, far, err := connPair()
	if err != nil {
		return nil, err
	}
	l.group.Go(func() {
		defer far.Close()
		for resolve(far) == nil {
		}
	})
	return near, nil
}

// resolve answers one message.
func resolve(conn io.ReadWriter) error {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	raw := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, raw); err != nil {
		return err
	}
	var question, reply dns.Msg
	if err := question.Unpack(raw); err != nil {
		return err
	}
	reply.SetReply(&question)
	switch q := question.Question[0]; {
	case q.Name != podName:
		reply.Rcode = dns.RcodeNameError
	case q.Qtype == dns.TypeA:
		reply.Answer = append(reply.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1},
			A:   podAddress.AsSlice(),
		})
	}
	raw, err := reply.Pack()
	if err != nil {
		return err
	}
	_, err = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...))
	return err
}

// Accept implements net.Listener for the pod's service.
func (l *memoryLink) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (l *memoryLink) Addr() net.Addr { return net.TCPAddrFromAddrPort(podService) }

// Close implements net.Listener; the server calls it.
func (l *memoryLink) Close() error {
	close(l.closed)
	return nil
}

func (l *memoryLink) end() {
	_ = l.server.Close()
	l.group.Wait()
}

func connPair() (near, far *net.UnixConn, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	var conns [2]*net.UnixConn
	for i, fd := range pair {
		f := os.NewFile(uintptr(fd), "pair")
		c, cerr := net.FileConn(f)
		err = errors.Join(err, cerr, f.Close())
		conns[i], _ = c.(*net.UnixConn)
	}
	return conns[0], conns[1], err
}
