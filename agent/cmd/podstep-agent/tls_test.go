//go:build linux

package main

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/testkit/authority"
	"podstep.dev/internal/wire"
)

// TestEphemeralCapabilitiesReadCertificates : those that Kubernetes mounts are root's, whoever the target is. What is another user's alone
// is refused before a rule is made. Nobody is told a key.
func TestEphemeralCapabilitiesReadCertificates(t *testing.T) {
	if testpod.Ordinary() {
		t.Skip("needs root: two users are needed")
	}
	container := strings.Repeat("8899aabbccddeeff", 4)
	client, _ := anothersTarget(t, container)
	const capabilities = "+net_admin,+sys_ptrace"
	dir := t.TempDir()
	r := runResident(t, dir+"/s", confined(t, residentCommand(t, dir+"/s", "--container", container), capabilities))
	r.says("resident")
	a := startLink(t, wire.Hello{Program: "podstep test", Holder: "alice", Session: "a1"}, confined(t, r.command("join"), capabilities))
	own := authority.New(t)
	own.Issue("web", "web.test")
	own.Issue("private", "web.test")
	if err := errors.Join(os.Chmod(own.Path("private.key"), 0o400), os.Chown(own.Path("private.key"), another, another)); err != nil {
		t.Fatal(err)
	}
	subscribe := func(pair wire.KeyPair) error {
		_, err := a.client.Subscribe(t.Context(), wire.SubscribeParams{
			Port: 8080, Mode: wire.ModeSteal, Requests: true, TLS: &wire.TLS{Certificates: []wire.KeyPair{pair}},
		})
		return err
	}
	err := subscribe(wire.KeyPair{Cert: own.Path("private.crt"), Key: own.Path("private.key")})
	if refusal, _ := errors.AsType[*wire.Refusal](err); refusal == nil || refusal.Reason != wire.ReasonTLS || refusal.Errno != syscall.EACCES || !strings.Contains(refusal.Text, own.Path("private.key")) {
		t.Errorf("another's key: %v", err)
	}
	if who := whoServes(client, shop, 10*time.Second); who != "target" {
		t.Errorf("behind a refusal served by %s", who)
	}
	if err := subscribe(wire.KeyPair{Cert: own.Path("web.crt"), Key: own.Path("web.key")}); err != nil {
		t.Error(err)
	}
	if err := a.client.Unsubscribe(t.Context(), wire.UnsubscribeParams{ID: 1}); err != nil {
		t.Fatal(err)
	}
	if err := subscribe(wire.KeyPair{CertPEM: wire.Secret(own.Text("web.crt")), KeyPEM: wire.Secret(own.Text("web.key"))}); err != nil {
		t.Error(err)
	}
	list, err := a.client.Sessions(t.Context())
	if err != nil || len(list.Sessions) != 1 || len(list.Sessions[0].Subscriptions) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if p := list.Sessions[0].Subscriptions[0]; p.TLS == nil || p.TLS.Certificates[0] != (wire.KeyPair{}) {
		t.Error("a list has a key")
	}
	if strings.Contains(r.log.String(), "PRIVATE") {
		t.Error("the log has a key")
	}
}
