// Package pki makes a cluster's keys and certificates: one authority, everything signed by it, all of it good for a day.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// An Authority signs what the cluster's programs trust each other by. Files are named after the names given: NAME.crt, NAME.key.
type Authority struct {
	dir    string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

// At is the authority whose files are in dir, for its files only: it signs nothing.
func At(dir string) *Authority { return &Authority{dir: dir} }

// New makes an authority called "ca" whose files are in dir, which is made.
func New(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the certificate authority: %w", err)
	}
	a := &Authority{dir: dir}
	return a, a.issue("ca", &x509.Certificate{
		Subject:               pkix.Name{CommonName: "podstep-test-ca"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	})
}

// Client makes a client certificate for a Kubernetes user in groups.
func (a *Authority) Client(name, user string, groups ...string) error {
	return a.issue(name, &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// Server makes a serving certificate for hosts, which are names and addresses.
func (a *Authority) Server(name string, hosts ...string) error {
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return a.issue(name, t)
}

// Kubeconfig writes a kubeconfig to path with the client certificate called name and everything else inside, so that it can be
// copied elsewhere. server is the API server's URL.
func (a *Authority) Kubeconfig(path, name, server string) error {
	var data [3]string
	for i, file := range []string{a.Cert("ca"), a.Cert(name), a.Key(name)} {
		content, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("write kubeconfig of %s: %w", name, err)
		}
		data[i] = base64.StdEncoding.EncodeToString(content)
	}
	return os.WriteFile(path, fmt.Appendf(nil, kubeconfig, server, data[0], name, data[1], data[2], name), 0o600)
}

const kubeconfig = `apiVersion: v1
kind: Config
clusters:
- name: podstep-test
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: %s
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: podstep-test
  context:
    cluster: podstep-test
    user: %s
current-context: podstep-test
`

// Cert is the file with the certificate called name.
func (a *Authority) Cert(name string) string { return filepath.Join(a.dir, name+".crt") }

// Key is the file with the key of the certificate called name.
func (a *Authority) Key(name string) string { return filepath.Join(a.dir, name+".key") }

// issue completes t, makes its key, signs it and writes both. The first one issued is the authority's own.
func (a *Authority) issue(name string, t *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make key of %s: %w", name, err)
	}
	a.serial++
	t.SerialNumber = big.NewInt(a.serial)
	t.NotBefore = time.Now().Add(-time.Hour)
	t.NotAfter = time.Now().Add(24 * time.Hour)
	parent, parentKey := a.cert, a.key
	if parent == nil {
		parent, parentKey = t, key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, parentKey)
	if err != nil {
		return fmt.Errorf("sign certificate of %s: %w", name, err)
	}
	if a.cert == nil {
		a.key = key
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			return fmt.Errorf("read certificate of %s: %w", name, err)
		}
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("write key of %s: %w", name, err)
	}
	if err := os.WriteFile(a.Cert(name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("write certificate of %s: %w", name, err)
	}
	if err := os.WriteFile(a.Key(name), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return fmt.Errorf("write key of %s: %w", name, err)
	}
	return nil
}
