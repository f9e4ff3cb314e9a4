package borrow

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"podstep.dev/adapter/borrow/tunnel"
	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/wire"
)

// tlsMinor is the minor version from which on an agent takes TLS off.
const tlsMinor = 3

// secrets is what is known of the ports whose TLS is taken off. Text of files of this machine is in it: it is never logged.
type secrets struct {
	// wanted is what an agent is told, and debuggee how TLS is made to the debuggee, by the target's port.
	wanted   map[uint16]*wire.TLS
	debuggee map[uint16]tunnel.TLS
}

// readSecrets reads this machine's files, and refuses what no agent could use.
func readSecrets(in config.Incoming) (s secrets, err error) {
	if in.Mode != config.ModeSteal {
		return s, nil
	}
	s = secrets{map[uint16]*wire.TLS{}, map[uint16]tunnel.TLS{}}
	for port, t := range in.TLS {
		r := reader{inTarget: t.InTarget()}
		wanted := &wire.TLS{}
		for _, p := range t.Pairs() {
			wanted.Certificates = append(wanted.Certificates, r.pair(p.Cert, p.Key))
		}
		var client *tls.Certificate
		if c := t.Client; !c.IsZero() {
			wanted.Client = &wire.ClientPair{KeyPair: r.pair(c.Cert, c.Key)}
			wanted.Client.CA, wanted.Client.CAPEM = r.text(c.CA)
			if !r.inTarget && r.err == nil && !x509.NewCertPool().AppendCertsFromPEM([]byte(wanted.Client.CAPEM)) {
				r.err = fmt.Errorf("%s: no certificate in PEM is in it", c.CA)
			}
			client = r.last
		}
		if r.err != nil {
			return s, fault.New(fault.TLSUnusable, fmt.Sprintf("cannot use the certificates for port %d", port), r.err)
		}
		s.wanted[port] = wanted
		if t.Debuggee != config.DebuggeePlain {
			s.debuggee[port] = tunnel.TLS{Client: client}
		}
	}
	return s, nil
}

// reader reads the files of a port, of which those in the target are the agent's to read. It keeps its first error.
type reader struct {
	inTarget bool
	last     *tls.Certificate
	err      error
}

// pair says where a pair is, or what it is.
func (r *reader) pair(cert, key string) (p wire.KeyPair) {
	p.Cert, p.CertPEM = r.text(cert)
	p.Key, p.KeyPEM = r.text(key)
	if r.inTarget || r.err != nil {
		return p
	}
	pair, err := tls.X509KeyPair([]byte(p.CertPEM), []byte(p.KeyPEM))
	if err != nil {
		r.err = fmt.Errorf("%s and %s: %w", cert, key, err)
	}
	r.last = &pair
	return p
}

func (r *reader) text(path string) (string, wire.Secret) {
	if r.inTarget || r.err != nil {
		return path, ""
	}
	text, err := os.ReadFile(path)
	if err != nil {
		r.err = err
	}
	return "", wire.Secret(text)
}

// sayTLSFailed tells the person, once for each port, that TLS with the debuggee fails.
func (b *Borrow) sayTLSFailed(port uint16, err error) {
	if _, told := b.tlsTold.LoadOrStore(port, true); told {
		return
	}
	local, _ := b.tunnel.Port(port)
	b.say(fmt.Sprintf("TLS with the program on its port %d fails (%v), so it gets nothing of what comes to port %d over TLS; if it speaks plain HTTP, add \"debuggee\": \"plain\" to \"tls\"", local, err, port))
}

// sayTLS says what became of connections whose TLS should have been taken off; nothing if it is not about that: 2 connections to port 8443 of
// pod/web-0 failed: the client does not trust the certificate that it was shown.
func sayTLS(n uint64, why wire.Unread, where string) string {
	failed := map[wire.Unread]string{
		wire.UnreadTLSUntrusted: `the client does not trust the certificate that it was shown; is it the target's, as "tls" names it?`,
		wire.UnreadTLSFailed:    "the client broke the TLS handshake off, or it has no certificate that the target would take",
		wire.UnreadTLSExpired:   "the client did not finish the TLS handshake in time",
	}
	stays := map[wire.Unread]string{
		wire.UnreadTLSMutual: `the target asks its clients for a certificate, which takes "client" in "tls"`,
		wire.UnreadTLSTarget: "the target did not finish the TLS handshake: it speaks no TLS there, or refuses what the client wants",
		wire.UnreadTLSName:   `"tls" has no certificate with the name that the client asks for; add it to "more"`,
		wire.UnreadTLSOld:    "the client knows neither TLS 1.2 nor 1.3, or no signature of the certificate's kind",
		wire.UnreadTLSMemory: "the agent has no memory for the TLS of more connections",
	}
	connections := count(n, "connection")
	if why == wire.UnreadTLSRefused {
		return fmt.Sprintf(`the target does not take the certificate of "client" in "tls": %s to %s`, connections, where)
	}
	if text, ok := failed[why]; ok {
		return fmt.Sprintf("%s to %s failed: %s", connections, where, text)
	}
	if text, ok := stays[why]; ok {
		return fmt.Sprintf("%s to %s %s encrypted and the target's: %s", connections, where, either(n == 1, "stays", "stay"), text)
	}
	return ""
}
