//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/testkit"
)

// nginxConf answers with the client's address as nginx sees it.
const nginxConf = `user root root; daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events { worker_connections 64; }
http {
  access_log off; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  server { listen 80; listen [::]:80; location / { return 200 "nginx saw $remote_addr to $server_addr\n"; } }
}`

// nodeServer does the same on one dual-stack socket, where IPv4 is mapped.
const nodeServer = `require("http").createServer((q, r) => r.end("node saw " + q.socket.remoteAddress + " to " + q.socket.localAddress + "\n")).listen(80, "::")`

// TestTrueClientIsSeenByOtherPrograms passes curl's requests through to servers not written here.
func TestTrueClientIsSeenByOtherPrograms(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	var log testkit.Output
	for _, test := range []struct {
		name       string
		command    []string
		four, six  string
		logged     bool
		keepsAlive bool
	}{
		{"nginx", []string{"nginx", "-p", dir, "-e", "stderr", "-c", conf}, "nginx saw 10.9.0.1 to 10.9.0.2\n", "nginx saw fd09::1 to fd09::2\n", false, true},
		{"node", []string{"node", "-e", nodeServer}, "node saw ::ffff:10.9.0.1 to ::ffff:10.9.0.2\n", "node saw fd09::1 to fd09::2\n", false, true},
		{"python", []string{"python3", "-u", "-m", "http.server", "80", "--bind", "::", "--directory", dir}, "::ffff:10.9.0.1 - - ", "fd09::1 - - ", true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			client := testpod.NewClient(t)
			log = testkit.Output{}
			server := runProgram(t, web, &log, test.command[0], test.command[1:]...)
			a := startAgent(t, server.Process.Pid, "alice")
			a.steal(t, 80)
			curl := func(args ...string) string {
				t.Helper()
				out, err := client.Command("curl", append([]string{"-sS", "-g", "--max-time", "10"}, args...)...).CombinedOutput()
				if err != nil {
					t.Fatalf("curl %v: %v: %s\n%s", args, err, out, a.log)
				}
				return string(out)
			}
			url4, url6 := "http://"+testpod.Pod4+"/", "http://["+testpod.Pod6+"]/"
			if got := curl(url4); got != "debuggee" {
				t.Errorf("stolen: %q", got)
			}
			a.on(refuse)
			for url, want := range map[string]string{url4: test.four, url6: test.six} {
				got := curl(url)
				if test.logged {
					got = log.String()
				}
				if !strings.Contains(got, want) {
					t.Errorf("%s: %q, want %q", url, got, want)
				}
			}
			if test.keepsAlive {
				// Two requests on one connection.
				if got := curl(url4, url4); got != test.four+test.four {
					t.Errorf("kept connection: %q", got)
				}
			}
		})
	}
}
