//go:build linux

package incoming

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/testkit/authority"
)

const tlsNginx = `user root root; daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events { worker_connections 256; }
http {
  access_log off; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  server {
    listen 80 ssl http2; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate %[1]s/web.crt; ssl_certificate_key %[1]s/web.key; root %[1]s;
    location / { return 200 "target: $request from $remote_addr in $ssl_protocol\n"; }
    location = /big { }
  }
}`

const tlsPython = `
import http.server, ssl, sys
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = open(sys.argv[1] + "/big", "rb").read() if self.path == "/big" else ("target: %s from %s in %s\n" % (self.requestline, self.client_address[0], self.connection.version())).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): pass
class S(http.server.ThreadingHTTPServer):
    def handle_error(self, *a): pass
c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain(sys.argv[1] + "/web.crt", sys.argv[1] + "/web.key")
s = S(("", 80), H); s.socket = c.wrap_socket(s.socket, server_side=True, do_handshake_on_connect=False); s.serve_forever()
`

// pythonAsks asks twice on one connection, once as alice, and reads to the end with a proper farewell.
const pythonAsks = `
import http.client, ssl, sys
c = http.client.HTTPSConnection(sys.argv[1], 80, context=ssl.create_default_context(cafile=sys.argv[2]))
for fields in ({}, {"X-User": "alice"}, {}):
    c.request("GET", "/py", headers=fields); r = c.getresponse(); print(r.status, r.read().decode().strip())
c.request("GET", "/big"); print(len(c.getresponse().read()))
try: c.sock.unwrap(); print("the server said farewell")
except ssl.SSLError as e: print("the server cut the connection", e.reason)
`

// secureServer runs a real target that speaks TLS on port 80.
func secureServer(t *testing.T, name string, a *authority.Authority) {
	t.Helper()
	if err := os.WriteFile(a.Path("big"), []byte(strings.Repeat("b", bigFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	switch name {
	case "nginx":
		conf := filepath.Join(a.Dir, "nginx.conf")
		if err := os.WriteFile(conf, fmt.Appendf(nil, tlsNginx, a.Dir), 0o600); err != nil {
			t.Fatal(err)
		}
		runServer(t, need(t, "nginx"), "-p", a.Dir, "-e", "stderr", "-c", conf)
	case "python":
		runServer(t, need(t, "python3"), "-u", "-c", tlsPython, a.Dir)
	}
}

// TestRealProgramsSpeakTLSThroughTheAgent : clients and targets that were not written here, requests of both parties on one connection.
func TestRealProgramsSpeakTLSThroughTheAgent(t *testing.T) {
	for _, server := range []string{"nginx", "python"} {
		t.Run(server, func(t *testing.T) {
			client := testpod.NewClient(t)
			a := authority.New(t)
			a.Issue("web", "web.test", testpod.Pod4)
			secureServer(t, server, a)
			told := &tally{}
			farewell := func() string {
				out, err := client.Command(need(t, "python3"), "-c", pythonAsks, testpod.Pod4, a.Path("ca.crt")).CombinedOutput()
				if err != nil {
					t.Errorf("python3: %v: %s", err, out)
				}
				return string(out[max(0, bytes.Index(out, []byte("the server"))):])
			}
			direct := farewell()
			f := startFarEndWith(t, a, told)
			f.on(answerRequest)
			f.stealTLS(t, in("web"), "X-User: alice")
			program := func(name string, args ...string) string {
				cmd := client.Command(need(t, name), args...)
				cmd.Stdin = strings.NewReader("GET /s_client HTTP/1.1\r\nHost: web.test\r\nX-User: alice\r\nConnection: close\r\n\r\n")
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Errorf("%s: %v: %s", name, err, out)
				}
				return string(out)
			}
			want := func(out string, parts ...string) {
				t.Helper()
				for _, part := range parts {
					i := strings.Index(out, part)
					if i < 0 {
						t.Errorf("%q lacks %q", out, part)
						return
					}
					out = out[i+len(part):]
				}
			}
			web := []string{"-sS", "--max-time", "10", "--cacert", a.Path("ca.crt"), "--resolve", "web.test:80:" + testpod.Pod4}
			passed := "target: GET /a HTTP/1.1 from " + testpod.Client4 + " in TLSv1.3"
			out := program("curl", append(web, "--http1.1", "https://web.test:80/a", "--next", "-sS", "--cacert", a.Path("ca.crt"), "--resolve", "web.test:80:"+testpod.Pod4,
				"--http1.1", "-H", "X-User: alice", "https://web.test:80/b")...)
			want(out, passed, "debuggee: GET /b")
			want(program("curl", append(web, "--http1.1", "--tls-max", "1.2", "https://web.test:80/c")...), "target: GET /c HTTP/1.1 from "+testpod.Client4+" in TLSv1.2")
			if got := program("curl", append(web, "--http1.1", "https://web.test:80/big")...); len(got) != bigFile {
				t.Errorf("%d bytes of the big file", len(got))
			}
			want(program("python3", "-c", pythonAsks, testpod.Pod4, a.Path("ca.crt")), "200 target: GET /py", "200 debuggee: GET /py", "200 target: GET /py", fmt.Sprint(bigFile), "the server")
			if got := farewell(); got != direct {
				t.Errorf("at the end %q, without the agent %q", got, direct)
			}
			for _, version := range []string{"-tls1_2", "-tls1_3"} {
				out := program("openssl", "s_client", "-connect", testpod.Pod4+":80", "-servername", "web.test", "-CAfile", a.Path("ca.crt"), "-verify_return_error", "-quiet", "-ign_eof", version)
				want(out, "HTTP/1.1 200 OK", "debuggee: GET /s_client")
			}
			if server == "nginx" {
				// What is agreed upon is the target's choice.
				want(program("curl", append(web, "https://web.test:80/h2")...), "target: GET /h2 HTTP/2.0 from "+testpod.Client4)
				want(program("openssl", "s_client", "-connect", testpod.Pod4+":80", "-servername", "web.test", "-alpn", "h2,http/1.1", "-CAfile", a.Path("ca.crt")), "ALPN protocol: h2")
			}
			want(program("openssl", "s_client", "-connect", testpod.Pod4+":80", "-servername", "web.test", "-alpn", "http/1.1", "-CAfile", a.Path("ca.crt")), "Verify return code: 0 (ok)")
			f.freed(t)
			for _, h := range f.seen() {
				if h.TLS == nil {
					t.Errorf("header %+v", h)
				}
			}
		})
	}
}
