package wire

// TLS says how an agent takes TLS off the connections to a stolen port, so that their requests can be told apart. It makes TLS anew towards the
// target, and the adapter towards the debuggee.
type TLS struct {
	// Certificates are what clients are shown, at least one. Which one: that which the target shows, else the first that fits what the client
	// asks for.
	Certificates []KeyPair `json:"certificates"`
	// Client is shown to a target that asks its clients for a certificate. If nil, connections to such a target stay encrypted.
	Client *ClientPair `json:"client,omitempty"`
}

// KeyPair is a certificate with its chain, and its private key: as paths in the target's file system, or as PEM.
type KeyPair struct {
	// Cert and Key are absolute paths of PEM files, which are read again when they change.
	Cert string `json:"cert,omitempty"`
	Key  string `json:"key,omitempty"`
	// CertPEM and KeyPEM are the text instead. It is kept in memory alone.
	CertPEM Secret `json:"certPem,omitempty"`
	KeyPEM  Secret `json:"keyPem,omitempty"`
}

// ClientPair is a pair that stands in for those of clients, and what clients' own are checked by before it does.
type ClientPair struct {
	KeyPair
	// CA is the path of a PEM file with the authorities of clients' certificates, CAPEM its text instead. The pair is shown only for clients
	// that showed a certificate of theirs.
	CA    string `json:"ca,omitempty"`
	CAPEM Secret `json:"caPem,omitempty"`
}

// Secret is text that no log and no list has.
type Secret string

// String hides it.
func (Secret) String() string { return "(hidden)" }

// GoString hides it.
func (Secret) GoString() string { return "(hidden)" }

// WithoutSecrets is what others may know of p: paths, but no text.
func (p SubscribeParams) WithoutSecrets() SubscribeParams {
	if p.TLS == nil {
		return p
	}
	shown := TLS{Certificates: make([]KeyPair, 0, len(p.TLS.Certificates))}
	for _, pair := range p.TLS.Certificates {
		shown.Certificates = append(shown.Certificates, KeyPair{Cert: pair.Cert, Key: pair.Key})
	}
	if c := p.TLS.Client; c != nil {
		shown.Client = &ClientPair{KeyPair: KeyPair{Cert: c.Cert, Key: c.Key}, CA: c.CA}
	}
	p.TLS = &shown
	return p
}

// Secured says that a connection was TLS, which the agent took off.
type Secured struct {
	// ServerName is what the client asked for (RFC 6066 §3), empty when it did not say.
	ServerName string `json:"serverName,omitempty"`
	// Protocol is what was agreed upon (ALPN, RFC 7301), empty when nothing was.
	Protocol string `json:"protocol,omitempty"`
}

// HasPaths says whether anything of it is read in the target's file system.
func (t TLS) HasPaths() bool {
	for _, pair := range t.Certificates {
		if pair.Cert != "" || pair.Key != "" {
			return true
		}
	}
	return t.Client != nil && (t.Client.Cert != "" || t.Client.Key != "" || t.Client.CA != "")
}
