//go:build linux

package session

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/authority"
	"podstep.dev/internal/testkit/pod"
)

// Environment variables of the role "secure".
const (
	securePort = "SECURE_PORT"
	secureCert = "SECURE_CERT" // and its key; without it the role speaks plain HTTP
	secureKey  = "SECURE_KEY"
)

// runSecure is the role "secure": it says who it is and what it sees.
func runSecure() {
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, host, over := "nobody", "", "plain"
		if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
			host = from.Addr().Unmap().String()
		}
		if r.TLS != nil {
			name, over = r.TLS.ServerName, "TLS"
		}
		_, _ = fmt.Fprintf(w, "%s %s %s from %s for %s over %s\n", os.Getenv("ANSWERED_BY"), r.Method, r.URL, host, name, over)
	})
	l, err := net.Listen("tcp", ":"+os.Getenv(securePort))
	if err == nil {
		server := &http.Server{Handler: answer}
		if cert := os.Getenv(secureCert); cert != "" {
			// HTTP/1.1 alone.
			server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
			err = server.ServeTLS(l, cert, os.Getenv(secureKey))
		} else {
			err = server.Serve(l)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// secureStage is a pod whose service speaks TLS on port 443.
func secureStage(t *testing.T, a *authority.Authority) *stage {
	t.Helper()
	a.Issue("web", "web.test")
	s := newStageOf(t, "self", roleVar+"=secure", securePort+"=443", secureCert+"="+a.Path("web.crt"), secureKey+"="+a.Path("web.key"))
	testkit.Eventually(t, "the target answers", func() bool {
		answer, _ := s.curl(a)
		return strings.HasPrefix(answer, "target")
	})
	return s
}

// curl asks the target, twice on one connection, and returns the second answer.
func (s *stage) curl(a *authority.Authority, args ...string) (string, error) {
	s.t.Helper()
	var out bytes.Buffer
	curl, err := exec.LookPath("curl")
	if err != nil {
		s.t.Skipf("needs the program curl: %v", err)
	}
	url := "https://web.test/cart"
	args = append([]string{curl, "-sS", "--max-time", "10", "--interface", clientAddress, "--cacert", a.Path("ca.crt"), "--resolve", "web.test:443:" + podAddress, url, url}, args...)
	proc, err := s.pod.Exec(pod.Command{Args: args, Stdout: &out, Stderr: &out})
	if err != nil {
		s.t.Fatal(err)
	}
	if status := proc.Wait(); status.ExitStatus() != 0 {
		err = fmt.Errorf("curl ended with %d: %s", status.ExitStatus(), out.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return lines[len(lines)-1], err
}

// TestRequestsOverTLSAreStolenByAFilter : by a debuggee that speaks TLS, or does not, with files of the target's or of this machine.
func TestRequestsOverTLSAreStolenByAFilter(t *testing.T) {
	for name, test := range map[string]struct {
		more map[string]any
		env  []string
		want string
	}{
		"TLS":         {nil, []string{secureCert, secureKey}, "debuggee GET /cart from " + clientAddress + " for web.test over TLS"},
		"plain":       {map[string]any{"debuggee": "plain"}, nil, "debuggee GET /cart from " + clientAddress + " for nobody over plain"},
		"workstation": {map[string]any{"from": "workstation"}, []string{secureCert, secureKey}, "debuggee GET /cart from " + clientAddress + " for web.test over TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			a, own := authority.New(t), authority.New(t)
			own.Issue("mine")
			s := secureStage(t, a)
			given := map[string]any{"cert": a.Path("web.crt"), "key": a.Path("web.key")}
			for key, value := range test.more {
				given[key] = value
			}
			for _, file := range []string{a.Path("web.crt"), a.Path("web.key"), own.Path("mine.crt"), own.Path("mine.key")} {
				s.Own(file)
			}
			block, _ := json.Marshal(map[string]any{"target": s.target(), "incoming": map[string]any{
				"mode": "steal", "ports": map[string]int{"443": 8443}, "filter": mine, "tls": map[string]any{"443": given},
			}})
			args := []string{"run", "-f", s.Write("mirror.json", block), "--env", roleVar + "=secure", "--env", "ANSWERED_BY=debuggee", "--env", securePort + "=8443"}
			paths := map[string]string{secureCert: own.Path("mine.crt"), secureKey: own.Path("mine.key")}
			for _, key := range []string{secureCert, secureKey} {
				value := ""
				for _, k := range test.env {
					if k == key {
						value = paths[key]
					}
				}
				args = append(args, "--env", key+"="+value)
			}
			cmd := s.Command(append(args, "--", filepath.Join(kit, "self"))...)
			var out testkit.Output
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			testkit.Eventually(t, "the debuggee answers alice", func() bool {
				answer, err := s.curl(a, "-H", "X-User: alice")
				if err != nil {
					t.Log(err)
				}
				return answer == test.want
			})
			if answer, err := s.curl(a); err != nil || answer != "target GET /cart from "+clientAddress+" for web.test over TLS" {
				t.Errorf("%v: %s", err, answer)
			}
			if shown := s.requests("show", "-o", "curl"); !strings.Contains(shown, "https://web.test/cart") {
				t.Errorf("shown as %s", shown)
			}
			_ = cmd.Process.Signal(os.Interrupt)
			_ = cmd.Wait()
			if t.Failed() {
				t.Log(out.String())
			}
			if text := out.String(); strings.Contains(text, "PRIVATE KEY") {
				t.Errorf("the key is printed: %s", text)
			}
			s.cleared()
			if answer, err := s.curl(a, "-H", "X-User: alice"); err != nil || !strings.HasPrefix(answer, "target ") {
				t.Errorf("behind the session: %v: %s", err, answer)
			}
		})
	}
}

// requests runs podstep requests about the first request.
func (s *stage) requests(verb string, flags ...string) string {
	s.t.Helper()
	out, err := s.Command(append([]string{"requests", verb, "1"}, flags...)...).CombinedOutput()
	if err != nil {
		s.t.Errorf("requests %s: %v: %s", verb, err, out)
	}
	return string(out)
}

func TestCertificatesThatAreMissingAreAFault(t *testing.T) {
	a := authority.New(t)
	s := secureStage(t, a)
	block, _ := json.Marshal(map[string]any{"target": s.target(), "incoming": map[string]any{
		"mode": "steal", "ports": map[string]int{"443": 8443}, "tls": map[string]any{"443": map[string]any{"cert": a.Path("web.crt"), "key": "/no/such.key"}},
	}})
	out, err := s.Command("run", "-f", s.Write("mirror.json", block), "--", "true").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "podstep-6007") || !strings.Contains(string(out), "read /no/such.key of the target: no such file or directory") {
		t.Errorf("%v: %s", err, out)
	}
	if tables := s.tables(); tables != "" {
		t.Errorf("rules in the pod: %s", tables)
	}
}

func TestTLSAsOrdinaryUser(t *testing.T) {
	testkit.AsOrdinaryUser(t, "^TestRequestsOverTLSAreStolenByAFilter$/^TLS$")
}
