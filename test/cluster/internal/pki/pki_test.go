package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCertificatesServeAndAreTrusted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	a, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Server("web", "127.0.0.1", "web.example"); err != nil {
		t.Fatal(err)
	}
	if err := a.Client("jane", "jane", "system:masters", "staff"); err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(At(dir).Cert("ca"))
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority)
	for _, name := range []string{"127.0.0.1", "web.example"} {
		here, there := net.Pipe()
		client := tls.Client(here, &tls.Config{RootCAs: trusted, ServerName: name, Certificates: pairs(t, a, "jane")})
		server := tls.Server(there, &tls.Config{ClientCAs: trusted, ClientAuth: tls.RequireAndVerifyClientCert, Certificates: pairs(t, a, "web")})
		go func() {
			_, _ = io.WriteString(client, "x")
		}()
		if err := server.HandshakeContext(t.Context()); err != nil {
			t.Fatalf("as %s: %v", name, err)
		}
		who := server.ConnectionState().PeerCertificates[0].Subject
		if who.CommonName != "jane" || !slices.Contains(who.Organization, "system:masters") || !slices.Contains(who.Organization, "staff") {
			t.Errorf("the client is %v", who)
		}
		here.Close()
		there.Close()
	}
}

func pairs(t *testing.T, a *Authority, name string) []tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(a.Cert(name), a.Key(name))
	if err != nil {
		t.Fatal(err)
	}
	return []tls.Certificate{pair}
}

func TestKubeconfigHasEverythingInside(t *testing.T) {
	dir := t.TempDir()
	a, err := New(filepath.Join(dir, "pki"))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Client("jane", "jane"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "kubeconfig")
	if err := a.Kubeconfig(file, "jane", "https://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{a.Cert("ca"), a.Cert("jane"), a.Key("jane")} {
		content, err := os.ReadFile(part)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), base64.StdEncoding.EncodeToString(content)) {
			t.Errorf("the kubeconfig lacks %s", filepath.Base(part))
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the kubeconfig, with its key, has mode %v, %v", info.Mode(), err)
	}
}
