//go:build linux

package incoming

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"podstep.dev/agent/incoming/sieve"
	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

const (
	// handshakePatience is for a client's handshake, from its first byte on, and for one that says nothing yet: on a port whose TLS is taken
	// off it is the client that speaks first.
	handshakePatience = 10 * time.Second
	// mostPatience bounds what a slow handshake adds to firstPatience.
	mostPatience = 250 * time.Millisecond
	// unwrappedCost is what the TLS of a client and of the target takes in bytes: two records of 16 KiB at the most are read, and as much is
	// kept for each (see TestUnwrappedConnectionsTakeTheMemoryTheyAreChargedFor).
	unwrappedCost = 80 << 10
	// maxServerName is the longest name of a host (RFC 1035 §2.3.4).
	maxServerName = 255
)

// unwrapped is the TLS that a connection had.
type unwrapped struct {
	wire.Secured
	// target is how TLS is made towards the target, as the client would have.
	target *tls.Config
	// kept is the connection to the target on which it was found out what that chooses, until it is needed.
	kept *secured
	// unproven : the target asks clients for a certificate, and this one has shown none.
	unproven bool
	// patience is for the client's first bytes, beside firstPatience: by TLS 1.2 they come a round trip after the handshake.
	patience time.Duration
	// clientCut and targetCut say who ended a half without close_notify.
	clientCut, targetCut atomic.Bool
}

// keyrings are those of the sessions that have TLS taken off.
func (c *connection) keyrings() (rings []*keyring) {
	for _, st := range c.port.claimed() {
		if st.keyring != nil {
			rings = append(rings, st.keyring)
		}
	}
	return rings
}

// claimed are the claims of what the connection carries: of what was TLS only those that had it taken off, and none of a client that did
// not say who it is to a target that asks.
func (c *connection) claimed() []*steal {
	all := c.port.claimed()
	switch {
	case c.tls == nil:
		return all
	case c.tls.unproven:
		return nil
	}
	return slices.DeleteFunc(slices.Clone(all), func(st *steal) bool { return st.keyring == nil })
}

// patience is for a client's first bytes, before it is taken for one that waits for the server to speak first.
func (c *connection) patience() time.Duration {
	if c.tls == nil {
		return firstPatience
	}
	return firstPatience + c.tls.patience
}

// wasTLS is for a stream's header.
func (c *connection) wasTLS() *wire.Secured {
	if c.tls == nil {
		return nil
	}
	return &c.tls.Secured
}

// talk serves a connection of requests, without its TLS where that is wanted.
func (c *connection) talk() {
	rings := c.keyrings()
	if len(rings) == 0 {
		c.converse()
		return
	}
	stop := contextAfter(c.life, c.client.conn.Reset)
	c.client.look(handshakePatience, func(head []byte) bool { return len(head) > 1 || len(head) == 1 && !sieve.IsTLS(head) })
	stop()
	if !sieve.IsTLS(c.client.kept) {
		c.converse()
		return
	}
	if !c.memory.mirrors.takeAll(unwrappedCost) {
		c.wrapped(wire.UnreadTLSMemory)
		return
	}
	defer c.memory.mirrors.give(unwrappedCost)
	if c.unwrap(rings) {
		defer c.client.drop()
		c.converse()
		if kept := c.tls.takeKept(); kept != nil {
			kept.drop()
		}
	}
}

// wrapped leaves a connection that is TLS to the target, as it is, and counts it.
func (c *connection) wrapped(why wire.Unread) {
	c.tellTLS(why)
	c.log.Debug("stays TLS", zap.String("why", string(why)))
	c.pass()
}

// tellTLS counts a connection for all sessions that wanted its TLS off.
func (c *connection) tellTLS(why wire.Unread) {
	for _, st := range c.port.claimed() {
		if st.keyring != nil {
			st.session.unread.add(st.id, why)
		}
	}
}

// handshake is one client's, from its first bytes on.
type handshake struct {
	*connection
	rings    []*keyring
	deadline time.Time
	conn     *carrier
	// why is set when the connection stays TLS.
	why wire.Unread
	tls *unwrapped
	// answered is when the client was answered, about a round trip before the handshake's end.
	answered time.Time
	// shown says that the target was shown a certificate in place of the client's.
	shown bool
}

// unwrap takes the TLS off, and says whether what it carries is to be served; else the connection is over.
func (c *connection) unwrap(rings []*keyring) bool {
	for _, r := range rings {
		if why := r.avoids(); why != "" {
			c.wrapped(why)
			return false
		}
	}
	below := c.client.conn.(*width) // TLS is not taken off twice
	h := &handshake{
		connection: c, rings: rings, deadline: time.Now().Add(handshakePatience),
		conn: &carrier{width: below, early: c.client, undecided: true}, tls: &unwrapped{},
	}
	server := tls.Server(h.conn, &tls.Config{GetConfigForClient: h.decide})
	_ = below.SetDeadline(h.deadline)
	stop := contextAfter(c.life, below.Reset)
	err := server.Handshake()
	stop()
	_ = below.SetDeadline(time.Time{})
	switch {
	case err != nil && h.conn.undecided:
		h.tls.dropKept()
		if h.why == "" {
			h.why = wire.UnreadTLS // as far as it came
		}
		c.log.Debug("TLS", zap.Error(err))
		c.wrapped(h.why)
		return false
	case err != nil:
		h.tls.dropKept()
		c.log.Debug("TLS", zap.Error(err))
		c.tellTLS(whyFailed(err))
		below.hangUp()
		return false
	}
	h.begin(server)
	return true
}

// begin has the connection carry what its TLS did.
func (h *handshake) begin(server *tls.Conn) {
	h.tls.patience = min(2*time.Since(h.answered), mostPatience)
	state := server.ConnectionState()
	h.tls.ServerName, h.tls.Protocol = state.ServerName, state.NegotiatedProtocol
	if h.shown && len(state.PeerCertificates) == 0 {
		// The client did not say who it is, and gets no more from the target than anybody.
		h.tls.dropKept()
		h.tls.unproven, h.tls.target.GetClientCertificate = true, nil
	}
	// The target is asked for nothing but what was agreed upon.
	h.tls.target.NextProtos = nil
	if h.tls.Protocol != "" {
		h.tls.target.NextProtos = []string{h.tls.Protocol}
	}
	client := &secured{Conn: server, below: h.conn, cut: &h.tls.clientCut, otherCut: &h.tls.targetCut}
	c := h.connection
	c.tls, c.client = h.tls, newEarly(client, c.memory.firsts)
	for _, st := range c.port.claimed() {
		if st.keyring == nil && st.filter != nil {
			st.session.unread.add(st.id, wire.UnreadTLS)
		}
	}
	c.log.Debug("TLS taken off", zap.String("protocol", h.tls.Protocol), zap.Bool("target", h.tls.kept != nil))
}

// whyFailed says why a client's handshake failed.
func whyFailed(err error) wire.Unread {
	switch text := err.Error(); {
	case isTimeout(err):
		return wire.UnreadTLSExpired
	case strings.Contains(text, "remote error: ") && (strings.Contains(text, "certificate") || strings.Contains(text, "unknown authority")):
		return wire.UnreadTLSUntrusted
	}
	return wire.UnreadTLSFailed
}

// errStays has the connection stay TLS.
var errStays = errors.New("it stays TLS")

// stays says why. Nothing was answered to the client yet.
func (h *handshake) stays(why wire.Unread) (*tls.Config, error) {
	h.why = why
	return nil, errStays
}

// decide is called with what the client wants. The target is asked first, so that the client gets what it would have.
func (h *handshake) decide(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	least, most := span(hello.SupportedVersions)
	switch {
	case len(hello.ServerName) > maxServerName:
		return h.stays(wire.UnreadTLSName)
	case most < tls.VersionTLS12:
		return h.stays(wire.UnreadTLSOld)
	}
	var ring keys
	for _, r := range h.rings {
		k := r.now()
		ring.pairs = append(ring.pairs, k.pairs...)
		if ring.client == nil {
			ring.client, ring.authorities = k.client, k.authorities
		}
	}
	answer := &tls.Config{MinVersion: least, MaxVersion: most}
	answer.SetSessionTicketKeys([][32]byte{h.rings[0].tickets})
	var shown *tls.ConnectionState
	switch state, why := h.reach(hello, ring, least, most); {
	case why != "":
		return h.stays(why)
	case state == nil:
		answer.NextProtos = preferred(hello.SupportedProtos)
	default:
		answer.MaxVersion, shown = state.Version, state
		if state.NegotiatedProtocol != "" {
			answer.NextProtos = []string{state.NegotiatedProtocol}
		}
	}
	pair, why := choose(ring.pairs, hello, shown)
	if why != "" {
		return h.stays(why)
	}
	answer.Certificates = []tls.Certificate{*pair}
	if h.shown {
		answer.ClientAuth, answer.ClientCAs = tls.VerifyClientCertIfGiven, ring.authorities
	}
	h.conn.undecided, h.answered = false, time.Now()
	return answer, nil
}

// reach makes the connection to the target in TLS. Without one that can be reached there is no state: the session may have the requests all the same.
// why is set when the target is not to be spoken to in this way.
func (h *handshake) reach(hello *tls.ClientHelloInfo, ring keys, least, most uint16) (state *tls.ConnectionState, why wire.Unread) {
	asked := false
	h.tls.target = &tls.Config{
		ServerName: hello.ServerName, NextProtos: hello.SupportedProtos, MinVersion: least, MaxVersion: most,
		// It is the pod's own loopback, where whoever could answer in the target's place has its traffic anyway.
		InsecureSkipVerify: true, //nolint:gosec // see above
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			if ring.client == nil {
				return &tls.Certificate{}, nil
			}
			return ring.client, nil
		},
	}
	ctx, cancel := context.WithDeadline(h.life, h.deadline)
	defer cancel()
	conn, err := h.connect(ctx)
	if err != nil {
		h.log.Debug("no target for TLS", zap.Error(err))
		return nil, ""
	}
	target, err := h.tls.over(ctx, conn, h.deadline)
	switch {
	case asked && ring.client == nil:
		if err == nil {
			target.drop()
		}
		h.rings[0].shun(wire.UnreadTLSMutual)
		return nil, wire.UnreadTLSMutual
	case err != nil:
		h.log.Debug("TLS with the target", zap.Error(err))
		var record tls.RecordHeaderError
		if errors.As(err, &record) {
			h.rings[0].shun(wire.UnreadTLSTarget)
		}
		return nil, wire.UnreadTLSTarget
	}
	h.shown, h.tls.kept = asked, target
	got := target.ConnectionState()
	return &got, ""
}

// over makes TLS over a connection to the target, which it owns.
func (u *unwrapped) over(ctx context.Context, conn *width, deadline time.Time) (*secured, error) {
	below := &carrier{width: conn}
	client := tls.Client(below, u.target)
	_ = conn.SetDeadline(deadline)
	if err := client.HandshakeContext(ctx); err != nil {
		conn.hangUp()
		conn.free()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	u.targetCut.Store(false)
	return &secured{Conn: client, below: below, cut: &u.targetCut, otherCut: &u.clientCut}, nil
}

// dial makes another connection to the target, or takes the one that there is.
func (u *unwrapped) dial(ctx context.Context, c *connection) (socket, error) {
	if kept := u.takeKept(); kept != nil {
		return kept, nil
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	target, err := u.over(ctx, conn, time.Now().Add(handshakePatience))
	if err != nil {
		return nil, fmt.Errorf("TLS with the target: %w", err)
	}
	return target, nil
}

func (u *unwrapped) takeKept() *secured {
	kept := u.kept
	u.kept = nil
	return kept
}

func (u *unwrapped) dropKept() {
	if kept := u.takeKept(); kept != nil {
		kept.drop()
	}
}

// drop ends a connection that nothing was said on.
func (s *secured) drop() {
	_ = s.Close()
	s.free()
}

// meet uses the connection that was made to the target, or ends it: it is read from here on where the target may have the first word.
func (v *conversation) meet() error {
	if v.tls == nil || v.tls.kept == nil {
		return nil
	}
	if st := v.all(); st != nil && st.takes() {
		v.tls.dropKept()
		return nil
	}
	_, err := v.toTarget()
	return err
}

// span is the oldest and the latest version of those that a client knows that may be agreed upon here; 0 for none.
func span(versions []uint16) (least, most uint16) {
	for v := uint16(tls.VersionTLS13); v >= tls.VersionTLS12; v-- {
		if slices.Contains(versions, v) {
			least, most = v, max(v, most)
		}
	}
	return least, most
}

// preferred is what a client likes best of what can be served without a target.
func preferred(protocols []string) []string {
	for _, p := range protocols {
		if p == "h2" || p == "http/1.1" {
			return []string{p}
		}
	}
	return nil
}

// choose finds the certificate that a client is shown: the target's own, with all that the target shows with it, else the first that fits.
func choose(pairs []tls.Certificate, hello *tls.ClientHelloInfo, target *tls.ConnectionState) (*tls.Certificate, wire.Unread) {
	anyName := *hello
	anyName.ServerName = ""
	why := wire.UnreadTLSOld
	var fits *tls.Certificate
	for i := range pairs {
		pair := &pairs[i]
		if anyName.SupportsCertificate(pair) != nil {
			continue
		}
		if target != nil && bytes.Equal(pair.Certificate[0], target.PeerCertificates[0].Raw) {
			same := *pair
			same.OCSPStaple, same.SignedCertificateTimestamps = target.OCSPResponse, target.SignedCertificateTimestamps
			same.Certificate = nil
			for _, c := range target.PeerCertificates {
				same.Certificate = append(same.Certificate, c.Raw)
			}
			return &same, ""
		}
		why = wire.UnreadTLSName
		if fits == nil && hello.SupportsCertificate(pair) == nil {
			fits = pair
		}
	}
	if fits != nil {
		return fits, ""
	}
	return nil, why
}

var _ splice.Conn = &secured{}
