//go:build linux

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"podstep.dev/adapter/config"
	"podstep.dev/test/bench/role"
)

// Ports of the pod that speak TLS.
const (
	secureStolenPort = 443
	secureDirectPort = 444
)

// secured measures requests over TLS that is taken off, those that a filter does not match and those that it steals. The debuggee speaks TLS too.
func (b *bench) secured(ctx context.Context) error {
	change := func(m *config.Mirror) (err error) {
		m.Incoming.Ports = map[uint16]uint16{secureStolenPort: localPort}
		m.Incoming.TLS = map[uint16]config.TLS{secureStolenPort: {
			Cert: filepath.Join(b.certificates, "tls.crt"), Key: filepath.Join(b.certificates, "tls.key"),
		}}
		m.Env.Override[roleVar], m.Env.Override[role.Certificates] = fmt.Sprintf("serve s%d", localPort), b.certificates
		m.Incoming.Filter, err = config.ParseFilter(fmt.Sprintf(`{"header": {%q: "alice"}}`, role.User))
		return err
	}
	at := func(port int) string { return fmt.Sprintf("https://%s:%d", podAddress, port) }
	for _, s := range []shape{{1, 1 << 10, b.n, false}, {64, 1 << 10, 4 * b.n, false}, {1, 10 << 20, b.n / 50, false}} {
		ways := []*way{
			{at: at(secureDirectPort), user: "-"},
			{what: "TLS, not matched by the filter", at: at(secureStolenPort), user: "bob"},
			{what: "TLS, stolen by a filter", at: at(secureStolenPort), user: "alice"},
		}
		if err := b.inWays(ctx, s, change, false, ways); err != nil {
			return err
		}
	}
	return nil
}

// issue makes a certificate that signs itself.
func issue(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"bench"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	write := func(file, kind string, der []byte) error {
		return os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
	}
	return errors.Join(write("tls.crt", "CERTIFICATE", cert), write("tls.key", "PRIVATE KEY", der))
}
