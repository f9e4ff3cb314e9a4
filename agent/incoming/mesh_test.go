//go:build linux

package incoming

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// sidecarUser is the user that istio's proxy runs as, which its rules tell from the target.
const sidecarUser = 1337

// meshRules are those that istio's init container makes (istio.io, "pilot-agent istio-iptables"), for the connections made
// to the pod and by it. The proxy's own to the target come from 127.0.0.6.
const meshRules = `
table ip mesh {
	chain inbound { type nat hook prerouting priority dstnat; policy accept;
		tcp dport { 15008, 15020, 15021, 15090 } return
		meta l4proto tcp redirect to :15006
	}
	chain outbound { type nat hook output priority -100; policy accept;
		oifname "lo" ip saddr 127.0.0.6 return
		oifname "lo" ip daddr != 127.0.0.1 tcp dport != { 53, 15008 } meta skuid 1337 redirect to :15006
		oifname "lo" meta skuid != 1337 return
		meta skuid 1337 return
		ip daddr 127.0.0.1 return
		meta l4proto tcp redirect to :15001
	}
}
`

// sidecarConfig makes nginx a proxy before the target at an address, that tells it the client by X-Forwarded-For.
const sidecarConfig = `
daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events { worker_connections 256; }
http {
  access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server { listen 15006; location / {
    proxy_pass http://%[2]s; proxy_bind 127.0.0.6; proxy_set_header X-Forwarded-For $remote_addr; add_header Via sidecar;
  } }
}
`

// joinMesh puts a sidecar before the target, which it reaches at address, until the test ends.
func joinMesh(t *testing.T, address string) {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, sidecarConfig, dir, address), 0o644); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	sidecar := exec.CommandContext(t.Context(), "nginx", "-c", config, "-p", dir)
	sidecar.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: sidecarUser, Gid: sidecarUser}}
	var said testkit.Output
	sidecar.Stderr = &said
	if err := sidecar.Start(); err != nil {
		t.Fatal(err)
	}
	rules := exec.CommandContext(t.Context(), "nft", "-f", "-")
	rules.Stdin = strings.NewReader(meshRules)
	out, err := rules.CombinedOutput()
	t.Cleanup(func() {
		_ = exec.Command("nft", "delete", "table", "ip", "mesh").Run()
		_ = sidecar.Process.Kill()
		_ = sidecar.Wait()
	})
	if err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
	testkit.Eventually(t, "sidecar listens", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:15006")
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(said.String())
		}
	})
}

// meshedTarget answers with the peer and the forwarded client that it sees.
func meshedTarget(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "0.0.0.0:8080")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answerAs("target", w, r) })}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
}

func answerAs(who string, w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	_, _ = fmt.Fprintf(w, "%s saw %s for %q", who, host, r.Header.Get("X-Forwarded-For"))
}

// meshedDebuggee answers as meshedTarget does.
func meshedDebuggee(st *mux.Stream) {
	_ = st.Opened(wire.Answer{})
	r, err := http.ReadRequest(bufio.NewReader(st))
	if err != nil {
		st.Reset()
		return
	}
	_, _ = fmt.Fprintf(st, "HTTP/1.0 200 OK\r\n\r\ndebuggee saw %s for %q", st.Header.From.Addr(), r.Header.Get("X-Forwarded-For"))
	_ = st.CloseWrite()
	_, _ = io.Copy(io.Discard, st)
	_ = st.Close()
}

func TestMeshedTargetIsStolenAfterItsSidecar(t *testing.T) {
	if testpod.Ordinary() {
		t.Skip("needs root: a mesh tells its sidecar by the user")
	}
	client := testpod.NewClient(t)
	meshedTarget(t)
	for name, address := range map[string]string{"to loopback": "127.0.0.1:8080", "to the pod's address": testpod.Pod4 + ":8080"} {
		t.Run(name, func(t *testing.T) {
			joinMesh(t, address)
			get := func(want string) {
				t.Helper()
				want += ` for "` + testpod.Client4 + `"`
				out, err := client.Command("curl", "-sSi", "--max-time", "10", "http://"+testpod.Pod4+":8080/").CombinedOutput()
				if err != nil || !strings.HasSuffix(string(out), want) || !strings.Contains(string(out), "Via: sidecar") {
					t.Errorf("got %s, %v; want %s by the sidecar", out, err, want)
				}
			}
			get("target saw 127.0.0.6")
			f := startFarEnd(t, Options{})
			f.on(meshedDebuggee)
			sub, err := f.Subscribe(t.Context(), wire.SubscribeParams{Port: 8080, Mode: wire.ModeSteal, Loopback: true})
			if err != nil {
				t.Fatal(err)
			}
			get("debuggee saw 127.0.0.6")
			f.on(refuse)
			get("target saw 127.0.0.6")
			headers := f.seen()
			if len(headers) != 2 || headers[0].To != netip.MustParseAddrPort(address) {
				t.Errorf("2 requests were offered as %+v", headers)
			}
			if err := f.Unsubscribe(t.Context(), wire.UnsubscribeParams{ID: sub.ID}); err != nil {
				t.Fatal(err)
			}
			get("target saw 127.0.0.6")
			if n := len(f.seen()); n != 2 {
				t.Errorf("offered %d of 2 requests", n)
			}
		})
	}
}

func TestMeshedTargetIsMirroredAfterItsSidecar(t *testing.T) {
	if testpod.Ordinary() {
		t.Skip("needs root: a mesh tells its sidecar by the user")
	}
	client := testpod.NewClient(t)
	meshedTarget(t)
	joinMesh(t, testpod.Pod4+":8080")
	f := startFarEnd(t, Options{})
	copies := f.copies()
	f.subscribe(t, wire.SubscribeParams{Port: 8080, Mode: wire.ModeMirror, Loopback: true})
	if got, want := curl(t, client, "http://"+testpod.Pod4+":8080/"), `target saw 127.0.0.6 for "`+testpod.Client4+`"`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := <-copies; !strings.Contains(got.text, "X-Forwarded-For: "+testpod.Client4+"\r\n") {
		t.Errorf("copied %q", got.text)
	}
	if headers := f.seen(); len(headers) != 1 || headers[0].From.Addr() != netip.MustParseAddr("127.0.0.6") {
		t.Errorf("copied %+v", headers)
	}
}
