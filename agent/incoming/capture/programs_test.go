package capture

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"

	"podstep.dev/internal/testkit"
)

// Addresses of the veth pair that outside makes.
const (
	outer4, inner4 = "10.9.0.1", "10.9.0.2"
	outer6, inner6 = "fd09::1", "fd09::2"
)

// outside makes a second network namespace, joined to the test's by a veth pair, and returns how to run programs in it.
func outside(t *testing.T) (program func(name string, args ...string) *exec.Cmd) {
	t.Helper()
	hold := exec.Command("cat")
	hold.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	stdin, err := hold.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := hold.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = hold.Wait()
		// The pair goes with the namespace, but later than its last process.
		_ = exec.Command("ip", "link", "del", "eth0").Run()
	})
	pid := strconv.Itoa(hold.Process.Pid)
	program = func(name string, args ...string) *exec.Cmd {
		return exec.CommandContext(t.Context(), "nsenter", append([]string{"-t", pid, "-n", name}, args...)...)
	}
	near := here(t)
	run(t, near("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "outer", "netns", pid))
	for _, side := range []struct {
		in           func(string, ...string) *exec.Cmd
		link, v4, v6 string
	}{{near, "eth0", inner4, inner6}, {program, "outer", outer4, outer6}} {
		run(t, side.in("ip", "addr", "add", side.v4+"/24", "dev", side.link))
		run(t, side.in("ip", "addr", "add", side.v6+"/64", "dev", side.link, "nodad"))
		run(t, side.in("ip", "link", "set", side.link, "up"))
	}
	return program
}

func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}

// serve starts a server program and waits until it answers on port.
func serve(t *testing.T, port uint16, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", name, out.String())
		}
	})
	testkit.Eventually(t, name+" answers", func() bool {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
}

const pythonServer = `
import sys, socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class H(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *a): pass
class S(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 512
S(("::", int(sys.argv[1])), H).serve_forever()
`

const nginxConfig = `
user root root; daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events { worker_connections 1024; }
http {
  access_log off; client_max_body_size 0; client_body_temp_path %[1]s; client_body_buffer_size 16m;
  proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server { listen %[2]d; listen [::]:%[2]d; location / { return 200 "ok"; } }
}
`

// request is what a test sent: its path and the hash of its body.
type request struct {
	path string
	hash [32]byte
}

// requests parses the copies' bytes. Anything that is no whole request fails the test.
func requests(t *testing.T, copies []*sink) map[request]netip.Addr {
	t.Helper()
	all := map[request]netip.Addr{}
	for _, k := range copies {
		r := bufio.NewReader(bytes.NewReader(k.bytes()))
		for {
			if _, err := r.Peek(1); err == io.EOF {
				break
			}
			req, err := http.ReadRequest(r)
			if err != nil {
				t.Fatalf("copy from %v is no request: %v", k.from, err)
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				t.Fatalf("body of %s cut: %v", req.URL, err)
			}
			id := request{req.URL.Path, sha256.Sum256(body)}
			if _, twice := all[id]; twice {
				t.Errorf("request %s copied twice", id.path)
			}
			all[id] = k.from.Addr()
		}
	}
	return all
}

// post sends bodies of several sizes from curl to host on one kept connection and returns what was sent.
func post(t *testing.T, curl func(string, ...string) *exec.Cmd, host string, port uint16) []request {
	t.Helper()
	var want []request
	var args []string
	for i, size := range []int{1 << 10, 64 << 10, 1 << 20, 10 << 20} {
		body := random(size)
		file := filepath.Join(t.TempDir(), "body")
		if err := os.WriteFile(file, body, 0o600); err != nil {
			t.Fatal(err)
		}
		path := fmt.Sprintf("/%s/%d", strings.Trim(host, "[]"), i)
		if i > 0 {
			args = append(args, "--next")
		}
		url := "http://" + net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(int(port))) + path
		args = append(args, "-sS", "--fail", "-g", "-H", "Expect:", "--data-binary", "@"+file, url)
		want = append(want, request{path, sha256.Sum256(body)})
	}
	if out := run(t, curl("curl", args...)); out != strings.Repeat("ok", len(want)) {
		t.Fatalf("target answered %q", out)
	}
	return want
}

func here(t *testing.T) func(string, ...string) *exec.Cmd {
	return func(name string, args ...string) *exec.Cmd { return exec.CommandContext(t.Context(), name, args...) }
}

// servers starts a server of python and one of nginx and returns their ports.
func servers(t *testing.T) map[string]uint16 {
	t.Helper()
	const python, nginx = 8081, 8082
	dir := t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, nginx), 0o600); err != nil {
		t.Fatal(err)
	}
	serve(t, python, "python3", "-c", pythonServer, strconv.Itoa(python))
	serve(t, nginx, "nginx", "-c", config, "-p", dir)
	return map[string]uint16{"python": python, "nginx": nginx}
}

func TestRequestsOfCurlAreCopied(t *testing.T) {
	ports := servers(t)
	far := outside(t)
	for name, port := range ports {
		for _, path := range []struct {
			name, host, from string
			curl             func(string, ...string) *exec.Cmd
		}{
			{"IPv4", inner4, outer4, far},
			{"IPv6", inner6, outer6, far},
			{"loopback IPv4", "127.0.0.1", "127.0.0.1", here(t)},
			{"loopback IPv6", "::1", "::1", here(t)},
			{"own address", inner4, inner4, here(t)},
		} {
			t.Run(name+" "+path.name, func(t *testing.T) {
				var got sinks
				c := start(t, got.deliver, Options{}, port)
				want := post(t, path.curl, path.host, port)
				copied := requests(t, got.ended(t, 1))
				for _, w := range want {
					if from := copied[w]; from != netip.MustParseAddr(path.from) {
						t.Errorf("request %s copied from %v, want %v", w.path, from, path.from)
					}
				}
				if len(copied) != len(want) {
					t.Errorf("%d requests copied, want %d; %+v", len(copied), len(want), c.Stats())
				}
			})
		}
	}
}

func TestManyConnectionsAreCopied(t *testing.T) {
	port := servers(t)["nginx"]
	var got sinks
	start(t, got.deliver, Options{}, port)
	const connections, each = 100, 5
	client := http.Client{Transport: &http.Transport{MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections}}
	var used sync.Map
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { used.Store(i.Conn.LocalAddr().String(), true) },
	})
	var group errgroup.Group
	group.SetLimit(connections)
	want := map[request]bool{}
	for i := range connections * each {
		body := random(1 + i*37%5000)
		path := fmt.Sprintf("/%d", i)
		want[request{path, sha256.Sum256(body)}] = true
		group.Go(func() error {
			url := fmt.Sprintf("http://127.0.0.1:%d%s", port, path)
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
			if err != nil {
				return err
			}
			answer, err := client.Do(r)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, answer.Body)
			return errors.Join(err, answer.Body.Close())
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	client.CloseIdleConnections()
	n := 0
	used.Range(func(any, any) bool { n++; return true })
	copied := requests(t, got.ended(t, n))
	for r := range want {
		if _, ok := copied[r]; !ok {
			t.Errorf("request %s missing", r.path)
		}
	}
	if len(copied) != len(want) {
		t.Errorf("%d requests copied, want %d", len(copied), len(want))
	}
}

func TestSegmentsOver64KiBAreCopied(t *testing.T) {
	run(t, here(t)("ip", "link", "set", "lo", "gso_max_size", "190000"))
	t.Cleanup(func() { _ = exec.Command("ip", "link", "set", "lo", "gso_max_size", "65536").Run() })
	server := discard(t, "tcp", "[::1]:0")
	var got sinks
	c := start(t, got.deliver, Options{}, server.Port())
	client := dial(t, server)
	want := random(4 << 20)
	if _, err := client.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if k := got.ended(t, 1)[0]; !bytes.Equal(k.bytes(), want) {
		t.Errorf("copied %d bytes, want %d; %+v", len(k.bytes()), len(want), c.Stats())
	}
}
