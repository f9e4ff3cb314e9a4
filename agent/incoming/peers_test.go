//go:build linux

package incoming

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// bigFile is what real targets serve at /big, in bytes.
const bigFile = 200 << 10

// need skips when a program is missing.
func need(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s the program %s: %v", needs(), name, err)
	}
	return path
}

// needs begins the reason for a skip. The run as an ordinary user beside root's has only the machine's own programs.
func needs() string {
	if testpod.Ordinary() {
		return "needs root's tools:"
	}
	return "needs"
}

const peerNginx = `user root root; daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events { worker_connections 256; }
http {
  access_log off; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  gzip on; gzip_types *;
  upstream behind { server 127.0.0.1:8081; keepalive 4; }
  server { listen 80; root %[1]s; location /proxied/ { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://behind/; } }
  server { listen 8081; root %[1]s; }
}`

const peerNode = `const big = "b".repeat(200 << 10);
require("http").createServer((q, r) => { let n = 0; q.on("data", d => n += d.length).on("end", () => q.method == "GET" ? r.end(big) : r.end("node got " + n)) }).listen(80);`

// peerServer runs a real target on port 80.
func peerServer(t *testing.T, name string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "big"), []byte(strings.Repeat("b", bigFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	switch name {
	case "nginx":
		conf := filepath.Join(dir, "nginx.conf")
		if err := os.WriteFile(conf, fmt.Appendf(nil, peerNginx, dir), 0o600); err != nil {
			t.Fatal(err)
		}
		runServer(t, need(t, "nginx"), "-p", dir, "-e", "stderr", "-c", conf)
	case "node":
		runServer(t, need(t, "node"), "-e", peerNode)
	case "python":
		runServer(t, need(t, "python3"), "-u", "-m", "http.server", "80", "--directory", dir)
	}
}

// runServer runs a program until it serves port 80, or the port that its last argument is.
func runServer(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var log testkit.Output
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %.2000s", name, log.String())
		}
	})
	port := "80"
	if last := args[len(args)-1]; last == "81" {
		port = last
	}
	testpod.Eventually(t, name+" listens", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
}

// runClient runs a program beside the pod and returns what it prints.
func runClient(t *testing.T, client *testpod.Client, name string, args ...string) string {
	t.Helper()
	cmd := client.Command(need(t, name), args...)
	var stderr testkit.Output
	cmd.Stderr = &stderr
	timer := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%s", name, err, out, stderr.String())
	}
	return string(out)
}

// answerFramed plays a debuggee that knows by itself where a request ends: the half of one that offers another protocol, as Java's
// first ones do, ends behind the answer.
func answerFramed(st *mux.Stream) {
	_ = st.Opened(wire.Answer{})
	r, err := http.ReadRequest(bufio.NewReader(st))
	if err != nil {
		st.Reset()
		return
	}
	n, _ := io.Copy(io.Discard, r.Body)
	body := fmt.Sprintf("debuggee: %s %s %s, %d bytes", r.Method, r.RequestURI, r.Proto, n)
	_ = wire.WriteFrame(st, wire.Outcome{}, fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	_ = st.CloseWrite()
	_, _ = io.Copy(io.Discard, st)
	_ = st.Close()
}

// Clients that ask six times in turn for /big, every other time with the filter's header, and print the bodies' first letter and length.
const (
	pythonClient = `
import http.client
c = http.client.HTTPConnection("10.9.0.2", 80, timeout=20)
for i in range(6):
    c.request("GET", "/big", headers={"X-User": "alice"} if i % 2 else {})
    r = c.getresponse(); b = r.read(); print(r.status, chr(b[0]), len(b))
`
	nodeClient = `
const http = require("http"), agent = new http.Agent({keepAlive: true, maxSockets: 1});
const ask = i => new Promise((done, fail) => http.get({host: "10.9.0.2", path: "/big", agent, headers: i % 2 ? {"X-User": "alice"} : {}}, r => {
  let b = ""; r.on("data", d => b += d).on("end", () => { console.log(r.statusCode, b[0], b.length); done() }) }).on("error", fail));
(async () => { for (let i = 0; i < 6; i++) await ask(i); process.exit(0) })();
`
	// By default it offers to go on in HTTP/2 with its first request.
	javaClient = `
import java.net.URI; import java.net.http.*;
public class Ask { public static void main(String[] a) throws Exception {
  HttpClient c = HttpClient.newHttpClient();
  for (int i = 0; i < 6; i++) {
    HttpRequest.Builder b = HttpRequest.newBuilder(URI.create("http://10.9.0.2/big"));
    if (i % 2 == 1) b.header("X-User", "alice");
    HttpResponse<String> r = c.send(b.build(), HttpResponse.BodyHandlers.ofString());
    System.out.println(r.statusCode() + " " + r.body().charAt(0) + " " + r.body().length());
  } } }
`
)

// TestRealClientsAndServersBesideADebuggee : each client alternates between the target and the debuggee on one connection.
func TestRealClientsAndServersBesideADebuggee(t *testing.T) {
	java := filepath.Join(t.TempDir(), "Ask.java")
	if err := os.WriteFile(java, []byte(javaClient), 0o600); err != nil {
		t.Fatal(err)
	}
	plain, mine := []string{"-sS", "-w", "\n", "http://10.9.0.2/big"}, []string{"-sS", "-w", "\n", "-H", "X-User: alice", "http://10.9.0.2/big"}
	var curls []string
	for i := range 6 {
		if i > 0 {
			curls = append(curls, "--next")
		}
		curls = append(curls, [][]string{plain, mine}[i%2]...)
	}
	for _, server := range []string{"nginx", "node", "python"} {
		for _, program := range []struct {
			name string
			args []string
		}{
			{"curl", curls},
			{"curl", append([]string{"--http1.0"}, curls...)},
			{"curl", append([]string{"--raw", "-H", "Accept-Encoding: gzip"}, plain...)},
			{"python3", []string{"-c", pythonClient}},
			{"node", []string{"-e", nodeClient}},
			{"java", []string{"-Xmx64m", "-XX:TieredStopAtLevel=1", java}},
		} {
			t.Run(server+" "+program.name, func(t *testing.T) {
				client := testpod.NewClient(t)
				peerServer(t, server)
				f := startFarEnd(t, Options{})
				f.on(answerFramed)
				f.stealRequests(t, "X-User: alice")
				var got []string
				began := time.Now()
				for line := range strings.Lines(runClient(t, client, program.name, program.args...)) {
					got = append(got, strings.TrimSpace(line))
				}
				t.Logf("took %v", time.Since(began))
				if program.args[0] == "--raw" {
					if n := len(strings.Join(got, "\n")); server == "nginx" && n > bigFile/10 || server != "nginx" && n != bigFile {
						t.Errorf("%d bytes, raw", n)
					}
					return
				}
				checkTurns(t, program.name, got)
				connections := map[uint64]bool{}
				for _, h := range f.seen() {
					connections[h.Connection] = true
				}
				if keeps := server != "python" && program.args[0] != "--http1.0"; keeps && len(connections) != 1 || len(f.seen()) != 3 {
					t.Errorf("%d requests of %d connections were offered", len(f.seen()), len(connections))
				}
				f.freed(t)
			})
		}
	}
}

func checkTurns(t *testing.T, program string, got []string) {
	t.Helper()
	if len(got) != 6 {
		t.Fatalf("%d answers: %.500q", len(got), got)
	}
	for i, line := range got {
		target := fmt.Sprintf("200 b %d", bigFile)
		if program == "curl" {
			target = strings.Repeat("b", bigFile)
		}
		if i%2 == 0 && line != target || i%2 == 1 && !strings.HasPrefix(line, "200 d ") && !strings.HasPrefix(line, "debuggee: GET /big HTTP/1.") {
			t.Errorf("answer %d: %.100q", i, line)
		}
	}
}

func TestRealUploadsRangesAndProxies(t *testing.T) {
	client := testpod.NewClient(t)
	file := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(file, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	upload := []string{"-sS", "-T", file, "-H", "Expect: 100-continue", "http://10.9.0.2/x"}
	for _, test := range []struct {
		server, want string
		args         []string
	}{
		{"node", fmt.Sprintf("node got %d", 3<<20), upload},
		{"node", "debuggee: PUT /x HTTP/1.1", append([]string{"-H", "X-User: alice"}, upload...)},
		{"nginx", "413 Request Entity Too Large", upload},
		{"nginx", "bbb", []string{"-sS", "-r", "100-102", "http://10.9.0.2/big"}},
		{"nginx", strings.Repeat("b", bigFile), []string{"-sS", "--compressed", "http://10.9.0.2/proxied/big"}},
		{"python", "501", upload},
	} {
		t.Run(test.server, func(t *testing.T) {
			peerServer(t, test.server)
			f := startFarEnd(t, Options{})
			f.on(answerFramed)
			f.stealRequests(t, "X-User: alice")
			if got := runClient(t, client, "curl", test.args...); !strings.Contains(got, test.want) {
				t.Errorf("%.300q, want %.100q", got, test.want)
			}
			f.freed(t)
		})
	}
}

// TestRealAgentOfTwentySockets asks 400 times, as fast as it can.
func TestRealAgentOfTwentySockets(t *testing.T) {
	client := testpod.NewClient(t)
	peerServer(t, "node")
	f := startFarEnd(t, Options{})
	f.on(answerFramed)
	f.stealRequests(t, "X-User: alice")
	got := runClient(t, client, "node", "-e", `
const http = require("http"), agent = new http.Agent({keepAlive: true, maxSockets: 20}), count = {};
let left = 400;
for (let i = 0; i < 400; i++) {
  const headers = i % 3 ? {} : {"X-User": "alice"}, want = i % 3 ? "n" : "d";
  const q = http.request({host: "10.9.0.2", method: "POST", path: "/" + i, agent, headers}, r => {
    let b = ""; r.on("data", d => b += d).on("end", () => {
      const right = i % 3 ? b == "node got " + i * 100 : b.startsWith("debuggee: POST /" + i + " ");
      count[right] = (count[right] || 0) + 1; if (!--left) { console.log(JSON.stringify(count)); process.exit(0) } }) });
  q.on("error", e => { console.log(i, e); process.exit(1) });
  q.end("x".repeat(i * 100));
}`)
	if got != "{\"true\":400}\n" {
		t.Errorf("%s", got)
	}
	connections := map[uint64]bool{}
	for _, h := range f.seen() {
		connections[h.Connection] = true
	}
	if len(connections) > 20 || len(f.seen()) != 134 {
		t.Errorf("%d requests of %d connections were offered", len(f.seen()), len(connections))
	}
	f.freed(t)
}

const (
	socketServer = `
require("http").createServer().on("upgrade", (q, s, first) => {
  const key = require("crypto").createHash("sha1").update(q.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
  s.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + key + "\r\n\r\n");
  let b = first; s.on("error", () => {}); s.on("data", d => { b = Buffer.concat([b, d]);
    while (b.length >= 8 && b.length >= 8 + b.readUInt16BE(2)) { // frames with a length of 16 bits, as the client below writes them
      const n = b.readUInt16BE(2), out = Buffer.alloc(4 + n); out[0] = b[0]; out[1] = 126; out.writeUInt16BE(n, 2);
      for (let i = 0; i < n; i++) out[4 + i] = b[8 + i] ^ b[4 + i % 4];
      s.write(out); b = b.subarray(8 + n);
    } }).on("end", () => s.end()) }).listen(+process.argv[1])`
	socketClient = `
import socket, struct, sys, hashlib, base64
s = socket.create_connection(("10.9.0.2", 80), 20); f = s.makefile("rb")
s.sendall(("GET /chat HTTP/1.1\r\nHost: shop\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + sys.argv[1] + "\r\n").encode())
assert b" 101 " in f.readline()
while f.readline() != b"\r\n": pass
for n in (1, 200, 65535, 5):
    text = bytes(i % 251 for i in range(n)); mask = b"abcd"
    s.sendall(struct.pack(">BBH", 0x81, 0x80 | 126, n) + mask + bytes(c ^ mask[i % 4] for i, c in enumerate(text)))
    assert f.read(4) == struct.pack(">BBH", 0x81, 126, n) and f.read(n) == text
s.shutdown(socket.SHUT_WR); assert f.read() == b""
print("echoed")
`
)

// TestRealWebSocketsOfBoth : the debuggee is the same program at another port.
func TestRealWebSocketsOfBoth(t *testing.T) {
	client := testpod.NewClient(t)
	runServer(t, need(t, "node"), "-e", socketServer, "81")
	runServer(t, need(t, "node"), "-e", socketServer, "80")
	f := startFarEnd(t, Options{})
	f.on(func(st *mux.Stream) {
		debuggee, err := net.Dial("tcp", "127.0.0.1:81")
		if err != nil {
			refuse(st)
			return
		}
		defer func() { _, _ = debuggee.Close(), st.Close() }()
		_ = st.Opened(wire.Answer{})
		_ = wire.WriteFrame(st, wire.Outcome{}, nil)
		go func() {
			_, _ = io.Copy(debuggee, st)
			_ = debuggee.(*net.TCPConn).CloseWrite()
		}()
		_, _ = io.Copy(st, debuggee)
		_ = st.CloseWrite()
	})
	f.stealRequests(t, "X-User: alice")
	for _, header := range []string{"", "X-User: alice\r\n"} {
		if got := runClient(t, client, "python3", "-c", socketClient, header); got != "echoed\n" {
			t.Errorf("%q", got)
		}
	}
	if n := len(f.seen()); n != 1 {
		t.Errorf("%d requests were offered", n)
	}
}

// TestRealEventsArriveOneByOne : nothing waits for more of a response.
func TestRealEventsArriveOneByOne(t *testing.T) {
	const apart = 60 * time.Millisecond
	client := testpod.NewClient(t)
	runServer(t, need(t, "node"), "-e", `require("http").createServer((q, r) => { r.writeHead(200, {"Content-Type": "text/event-stream"});
let n = 0; const tick = setInterval(() => { r.write("data: " + n + "\n\n"); if (++n == 5) { clearInterval(tick); r.end() } }, 60) }).listen(80)`)
	f := startFarEnd(t, Options{})
	f.on(func(st *mux.Stream) {
		_ = st.Opened(wire.Answer{})
		_, _ = io.ReadAll(st)
		_ = wire.WriteFrame(st, wire.Outcome{}, []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"))
		for n := range 5 {
			<-time.After(apart)
			_, _ = fmt.Fprintf(st, "9\r\ndata: %d\n\n\r\n", n)
		}
		_, _ = io.WriteString(st, "0\r\n\r\n")
		_ = st.CloseWrite()
		_ = st.Close()
	})
	f.stealRequests(t, "X-User: alice")
	for _, header := range []string{"X-User: bob", "X-User: alice"} {
		cmd := client.Command(need(t, "curl"), "-sSN", "-H", header, "http://10.9.0.2/events")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var first, last time.Time
		n := 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if lines.Text() == fmt.Sprintf("data: %d", n) {
				n++
				last = time.Now()
				if n == 1 {
					first = last
				}
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		t.Logf("%s: %d events in %v, sent %v apart", header, n, last.Sub(first), apart)
		if n != 5 || last.Sub(first) < apart { // at once, if they were gathered
			t.Errorf("%s: %d events came within %v", header, n, last.Sub(first))
		}
	}
}
