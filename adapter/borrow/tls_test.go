package borrow

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/control"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/testkit/authority"
	"podstep.dev/internal/wire"
)

func withTLS(t config.TLS) func(*config.Mirror) {
	return func(m *config.Mirror) { m.Incoming.TLS = map[uint16]config.TLS{80: t} }
}

func TestAgentIsToldOfTheTargetsFiles(t *testing.T) {
	a := newPlace(t, "pod/a")
	mustBegin(t, newTarget(a), withTLS(config.TLS{
		Cert: "/tls.crt", Key: "/tls.key", More: []config.KeyPair{{Cert: "/b.crt", Key: "/b.key"}}, Client: config.ClientTLS{Cert: "/c.crt", Key: "/c.key", CA: "/ca.crt"},
	}))
	want := &wire.TLS{
		Certificates: []wire.KeyPair{{Cert: "/tls.crt", Key: "/tls.key"}, {Cert: "/b.crt", Key: "/b.key"}},
		Client:       &wire.ClientPair{KeyPair: wire.KeyPair{Cert: "/c.crt", Key: "/c.key"}, CA: "/ca.crt"},
	}
	a.set(func() {
		if diff := cmp.Diff(want, a.asked[0].TLS); diff != "" {
			t.Error(diff)
		}
	})
}

// TestAgentIsGivenThisMachinesFiles : and nobody else gets them.
func TestAgentIsGivenThisMachinesFiles(t *testing.T) {
	own := authority.New(t)
	own.Issue("web", "web.test")
	own.Issue("client")
	a := newPlace(t, "pod/a")
	given := config.TLS{
		Cert: own.Path("web.crt"), Key: own.Path("web.key"), From: config.FromWorkstation,
		Client: config.ClientTLS{Cert: own.Path("client.crt"), Key: own.Path("client.key"), CA: own.Path("ca.crt")},
	}
	s := mustBegin(t, newTarget(a), withTLS(given))
	a.set(func() {
		got := a.asked[0].TLS
		if got == nil || len(got.Certificates) != 1 || string(got.Certificates[0].KeyPEM) != own.Text("web.key") || string(got.Client.CAPEM) != own.Text("ca.crt") || got.HasPaths() {
			t.Errorf("asked with %+v", got)
		}
		core, logs := observer.New(zap.DebugLevel)
		zap.New(core).Sugar().Debugf("%v %+v %#v", a.asked[0], got.Certificates[0], got.Client)
		line := logs.All()[0].Message
		shown := fmt.Sprint(a.asked[0].WithoutSecrets().TLS.Certificates) + line
		if strings.Contains(shown, "PRIVATE") || strings.Contains(shown, "BEGIN") {
			t.Errorf("a secret is shown: %s", shown)
		}
	})
	if got := s.secrets.debuggee[80].Client; got == nil || got.Leaf.Subject.CommonName != "client" {
		t.Errorf("the debuggee is shown %+v", got)
	}
}

func TestFilesThatCannotBeUsedAreAFaultBeforeAnythingIsTouched(t *testing.T) {
	own := authority.New(t)
	own.Issue("web", "web.test")
	own.Issue("other")
	for name, test := range map[string]struct {
		tls  config.TLS
		want string
	}{
		"missing":       {config.TLS{Cert: own.Path("web.crt"), Key: own.Path("none.key")}, "none.key: no such file or directory"},
		"another's key": {config.TLS{Cert: own.Path("web.crt"), Key: own.Path("other.key")}, "private key does not match public key"},
		"no authority":  {config.TLS{Cert: own.Path("web.crt"), Key: own.Path("web.key"), Client: config.ClientTLS{Cert: own.Path("web.crt"), Key: own.Path("web.key"), CA: own.Path("web.key")}}, "no certificate in PEM is in it"},
	} {
		a := newPlace(t, "pod/a")
		test.tls.From = config.FromWorkstation
		_, err := begin(t, newTarget(a), withTLS(test.tls))
		if f := fault.As(err); f.ID != fault.TLSUnusable || !strings.Contains(f.Error(), test.want) || a.attaches != 0 {
			t.Errorf("%s: %v after %d links", name, err, a.attaches)
		}
	}
}

func TestAgentThatCannotUseTheFilesIsAFault(t *testing.T) {
	a := newPlace(t, "pod/a")
	a.refuse = &wire.Refusal{Errno: syscall.ENOENT, Reason: wire.ReasonTLS, Text: "read /tls.key of the target: no such file or directory"}
	_, err := begin(t, newTarget(a), withTLS(config.TLS{Cert: "/tls.crt", Key: "/tls.key"}))
	if f := fault.As(err); f.ID != fault.TLSUnusable || !strings.Contains(f.Error(), "/tls.key") {
		t.Errorf("ended with %v", err)
	}
}

func TestAgentThatDoesNotKnowTLSIsNotAsked(t *testing.T) {
	a := newPlace(t, "pod/a")
	a.agent = wire.Hello{Major: wire.Major, Minor: tlsMinor - 1, Program: "podstep-agent 0.1.0"}
	_, err := begin(t, newTarget(a), withTLS(config.TLS{Cert: "/tls.crt", Key: "/tls.key"}))
	if f := fault.As(err); f.ID != fault.TLSUnknown || !strings.Contains(f.What, "podstep-agent 0.1.0") || len(a.asked) != 0 {
		t.Errorf("ended with %v after %+v", err, a.asked)
	}
}

func TestThePersonHearsWhyTLSWasNotTakenOff(t *testing.T) {
	a := newPlace(t, "pod/a")
	s := mustBegin(t, newTarget(a), withTLS(config.TLS{Cert: "/tls.crt", Key: "/tls.key"}))
	var server *control.Server
	a.set(func() { server = a.server })
	if err := server.Unread(t.Context(), wire.UnreadParams{ID: 1, Connections: map[wire.Unread]uint64{wire.UnreadTLSUntrusted: 2, wire.UnreadTLSMutual: 1, wire.UnreadTLSRefused: 1}}); err != nil {
		t.Fatal(err)
	}
	s.saysSoon("2 connections to port 80 of pod/a failed: the client does not trust the certificate that it was shown")
	s.saysSoon(`1 connection to port 80 of pod/a stays encrypted and the target's: the target asks its clients for a certificate, which takes "client" in "tls"`)
	s.saysSoon(`the target does not take the certificate of "client" in "tls": 1 connection to port 80 of pod/a`)
	s.sayTLSFailed(80, syscall.EPROTO)
	s.sayTLSFailed(80, syscall.EPROTO)
	s.saysSoon("TLS with the program on its port 8080 fails (protocol error), so it gets nothing of what comes to port 80 over TLS")
	n := 0
	for _, line := range s.lines() {
		if strings.HasPrefix(line, "TLS with the program") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("said %d times", n)
	}
}
