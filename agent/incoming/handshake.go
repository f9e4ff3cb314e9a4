//go:build linux

package incoming

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"podstep.dev/internal/wire"
)

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

// begin has the connection carry what its TLS did.
func (h *handshake) begin(server *tls.Conn) {
	h.tls.patience = min(2*time.Since(h.answered), mostPatience)
	state := server.ConnectionState()
	h.tls.ServerName, h.tls.Protocol = state.ServerName, state.NegotiatedProtocol
	if h.shown && len(state.PeerCertificates) == 0 {
		// The client did not say who it is, and gets no more from the target than anybody.
		h.tls.dropKept()
		h.tls.unproven, h.tls.refused, h.tls.target.GetClientCertificate = true, nil, nil
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
	switch {
	case isTimeout(err):
		return wire.UnreadTLSExpired
	case isUntrusted(err):
		return wire.UnreadTLSUntrusted
	}
	return wire.UnreadTLSFailed
}

// isUntrusted tells an alert of the other end about a certificate (RFC 8446 §6.2). Package tls has no other word for it.
func isUntrusted(err error) bool {
	text := err.Error()
	return strings.Contains(text, "remote error: ") && (strings.Contains(text, "certificate") || strings.Contains(text, "unknown authority"))
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
		if asked && isUntrusted(err) {
			return nil, wire.UnreadTLSRefused
		}
		var record tls.RecordHeaderError
		if errors.As(err, &record) {
			h.rings[0].shun(wire.UnreadTLSTarget)
		}
		return nil, wire.UnreadTLSTarget
	}
	if h.shown, h.tls.kept = asked, target; asked {
		h.tls.refused = sync.OnceFunc(func() { h.tellTLS(wire.UnreadTLSRefused) })
	}
	got := target.ConnectionState()
	return &got, ""
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
