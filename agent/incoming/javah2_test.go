//go:build linux

package incoming

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/testkit/authority"
	"podstep.dev/internal/wire"
)

// Java speaks HTTP/2 over TLS alone: without, it offers the upgrade of HTTP/1.1. It asks one after the other, then all at once.
const javaH2Client = `
import java.io.*; import java.net.URI; import java.net.http.*; import java.security.KeyStore; import java.security.cert.CertificateFactory; import java.util.*;
import java.util.concurrent.CompletableFuture; import javax.net.ssl.*;
public class Ask { public static void main(String[] a) throws Exception {
  KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType()); trusted.load(null, null);
  trusted.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(new FileInputStream(a[1])));
  TrustManagerFactory f = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm()); f.init(trusted);
  SSLContext tls = SSLContext.getInstance("TLS"); tls.init(null, f.getTrustManagers(), null);
  HttpClient c = HttpClient.newBuilder().version(HttpClient.Version.HTTP_2).sslContext(tls).build();
  for (int i = 0; i < 4; i++) System.out.println(said(c.send(request(a[0], i), HttpResponse.BodyHandlers.ofString())));
  List<CompletableFuture<HttpResponse<String>>> all = new ArrayList<>();
  for (int i = 4; i < 24; i++) all.add(c.sendAsync(request(a[0], i), HttpResponse.BodyHandlers.ofString()));
  for (CompletableFuture<HttpResponse<String>> one : all) System.out.println(said(one.get()));
  }
  static HttpRequest request(String host, int i) {
    HttpRequest.Builder b = HttpRequest.newBuilder(URI.create("https://" + host + ":80/" + i));
    if (i % 2 == 1) b.header("X-User", "alice");
    if (i % 4 > 1) b.POST(HttpRequest.BodyPublishers.ofString("x".repeat(100_000)));
    return b.build();
  }
  static String said(HttpResponse<String> r) { return r.version() + " " + r.statusCode() + " " + r.body().strip(); }
}
`

const nodeSecureH2 = `
const fs = require("fs"), {createSecureServer} = require("http2"), d = process.argv[1];
createSecureServer({key: fs.readFileSync(d + "/web.key"), cert: fs.readFileSync(d + "/web.crt")}, (q, r) => {
  let n = 0; q.on("data", b => n += b.length).on("end", () => r.end("target: HTTP/" + q.httpVersion + " " + q.method + " " + q.url + " " + n)) }).listen(80);`

// TestJavaSpeaksHTTP2OverTLS : Java's client to a target of Node's, requests of both parties with and without a body on one connection.
func TestJavaSpeaksHTTP2OverTLS(t *testing.T) {
	need(t, "java")
	client := testpod.NewClient(t)
	a := authority.New(t)
	a.Issue("web", "web.test", testpod.Pod4)
	runServer(t, need(t, "node"), "-e", nodeSecureH2, a.Dir)
	serveH2(t, "127.0.0.1:90", says("debuggee"))
	f := startFarEndWith(t, a, nil)
	f.on(debuggeeH2(t, "127.0.0.1:90"))
	f.stealTLS(t, in("web"), "X-User: alice")
	source := filepath.Join(t.TempDir(), "Ask.java")
	if err := os.WriteFile(source, []byte(javaH2Client), 0o600); err != nil {
		t.Fatal(err)
	}
	out := runClient(t, client, "java", "-Xmx64m", "-XX:TieredStopAtLevel=1", source, testpod.Pod4, a.Path("ca.crt"))
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 24 {
		t.Fatalf("%d answers: %.2000s", len(lines), out)
	}
	for i, line := range lines {
		party, method := [...]string{"target", "debuggee"}[i%2], [...]string{"GET", "POST"}[i%4/2]
		if want := fmt.Sprintf("HTTP_2 200 %s: HTTP/2.0 %s /%d ", party, method, i); !strings.HasPrefix(line, want) {
			t.Errorf("answer %d is %q, want %q", i, line, want)
		}
		if method == "POST" && !strings.Contains(line, "100000") {
			t.Errorf("answer %d is %q, and does not know of 100000 bytes", i, line)
		}
	}
	seen := f.seen()
	for _, h := range seen {
		if h.Protocol != wire.HTTP2 || h.TLS == nil || h.Connection != seen[0].Connection {
			t.Errorf("header %+v", h)
		}
	}
	if len(seen) != 12 {
		t.Errorf("%d streams, want 12", len(seen))
	}
	f.freed(t)
}
