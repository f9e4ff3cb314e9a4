package config

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Where the files of certificates are.
const (
	FromTarget      = "target"
	FromWorkstation = "workstation"
)

// What the debuggee speaks on a port whose TLS is taken off.
const (
	DebuggeeTLS   = "tls"
	DebuggeePlain = "plain"
)

// TLS is how the TLS of one of the target's ports is taken off.
type TLS struct {
	// The absolute path of the certificate that clients are shown, in PEM, with the chain behind it.
	Cert string `json:"cert" jsonschema:"required,example=/etc/tls/tls.crt"`
	// The absolute path of its private key, in PEM.
	Key string `json:"key" jsonschema:"required,example=/etc/tls/tls.key"`
	// Further certificates and keys. A client is shown the one that the target itself shows, else the first that has the name it asks for.
	More []KeyPair `json:"more,omitempty"`
	// Where all these files are: in the `target`, where the agent reads them, again when they change, and nothing of them leaves the pod; or on this
	// machine (`workstation`), from where they are sent to the agent, which keeps them in memory.
	From string `json:"from,omitempty" jsonschema:"enum=target,enum=workstation,default=target"`
	// What the debuggee speaks: `tls`, as the target does, with any certificate; or `plain`.
	Debuggee string `json:"debuggee,omitempty" jsonschema:"enum=tls,enum=plain,default=tls"`
	// For a target that asks its clients for a certificate. Without it, connections to such a target stay encrypted.
	Client ClientTLS `json:"client,omitzero"`
}

// KeyPair is a certificate and its key.
type KeyPair struct {
	// The absolute path of the certificate, in PEM, with the chain behind it.
	Cert string `json:"cert" jsonschema:"required"`
	// The absolute path of its private key, in PEM.
	Key string `json:"key" jsonschema:"required"`
}

// ClientTLS stands in for the certificates of clients.
type ClientTLS struct {
	// The absolute path of the certificate that the target is shown in place of a client's, in PEM, with the chain behind it. It is shown only for
	// clients that have shown one of their own; requests of others stay the target's.
	Cert string `json:"cert" jsonschema:"required"`
	// The absolute path of its private key, in PEM.
	Key string `json:"key" jsonschema:"required"`
	// The absolute path of the authorities by which clients' certificates are checked, in PEM: those of the target.
	CA string `json:"ca" jsonschema:"required"`
}

// IsZero tells whether there is none.
func (c ClientTLS) IsZero() bool { return c == ClientTLS{} }

// Pairs are all certificates that clients may be shown.
func (t TLS) Pairs() []KeyPair { return append([]KeyPair{{t.Cert, t.Key}}, t.More...) }

// InTarget tells whether the agent reads the files in the target.
func (t TLS) InTarget() bool { return t.From != FromWorkstation }

// TLSInTarget tells whether an agent has to look into the target's files.
func (i Incoming) TLSInTarget() bool {
	return i.Mode == ModeSteal && slices.ContainsFunc(slices.Collect(maps.Values(i.TLS)), TLS.InTarget)
}

// tlsRules are those of the shapes below "incoming.tls".
func tlsRules() map[string]rule {
	const each = "incoming.tls{}=."
	rules := map[string]rule{each + "from": oneOf(FromTarget, FromWorkstation), each + "debuggee": oneOf(DebuggeeTLS, DebuggeePlain)}
	for _, file := range []string{"cert", "key", "more[].cert", "more[].key", "client.cert", "client.key", "client.ca"} {
		rules[each+file] = checkFile
	}
	return rules
}

// checkFile wants the path of a file: whoever reads it has a working directory of its own.
func checkFile(s string) error {
	switch {
	case s == "":
		return errors.New("the path of a file is empty")
	case !path.IsAbs(s):
		return fmt.Errorf("%q is not an absolute path", s)
	case strings.Contains(s, "\x00"):
		return errors.New("the path has a NUL character")
	}
	return nil
}

// fitTLS checks that nothing is missing of what was given.
func (r *reader) fitTLS(m Mirror, path string) {
	for _, port := range slices.Sorted(maps.Keys(m.Incoming.TLS)) {
		at := join(path, fmt.Sprintf("incoming.tls.%d", port))
		t := m.Incoming.TLS[port]
		if _, taken := m.Incoming.Ports[port]; m.Incoming.Ports != nil && !taken {
			r.add(r.seen[at], at, fmt.Sprintf(`port %d is not among "ports"`, port))
		}
		r.needs(at, "cert", "key")
		for i := range t.More {
			r.needs(fmt.Sprintf("%s.more[%d]", at, i), "cert", "key")
		}
		if _, given := r.seen[join(at, "client")]; given {
			r.needs(join(at, "client"), "cert", "key", "ca")
		}
	}
}

// needs reports the keys of an object that are missing.
func (r *reader) needs(at string, keys ...string) {
	if slices.ContainsFunc(r.problems, func(p Problem) bool { return p.Path == at }) {
		return // it is no object
	}
	for _, key := range keys {
		if _, given := r.seen[join(at, key)]; !given {
			r.add(r.seen[at], join(at, key), "missing")
		}
	}
}
