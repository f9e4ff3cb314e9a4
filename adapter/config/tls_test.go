package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/adapter/config"
)

func TestParseReadsTLS(t *testing.T) {
	got, err := config.Parse([]byte(`{"target": "pod/a", "incoming": {"mode": "steal", "tls": {
		"8443": {"cert": "/etc/tls/tls.crt", "key": "/etc/tls/tls.key", "more": [{"cert": "/b.crt", "key": "/b.key"}]},
		"443": {"cert": "/a.crt", "key": "/a.key", "from": "workstation", "debuggee": "plain", "client": {"cert": "/c.crt", "key": "/c.key", "ca": "/ca.crt"}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint16]config.TLS{
		8443: {Cert: "/etc/tls/tls.crt", Key: "/etc/tls/tls.key", More: []config.KeyPair{{Cert: "/b.crt", Key: "/b.key"}}},
		443: {
			Cert: "/a.crt", Key: "/a.key", From: config.FromWorkstation, Debuggee: config.DebuggeePlain,
			Client: config.ClientTLS{Cert: "/c.crt", Key: "/c.key", CA: "/ca.crt"},
		},
	}
	if diff := cmp.Diff(want, got.Incoming.TLS); diff != "" {
		t.Error(diff)
	}
	if !got.Incoming.TLSInTarget() {
		t.Error("no agent is to look into the target's files")
	}
	delete(got.Incoming.TLS, 8443)
	if got.Incoming.TLSInTarget() {
		t.Error("files of this machine are looked for in the target")
	}
}

func TestParseReportsWhatIsWrongWithTLS(t *testing.T) {
	for name, test := range map[string]struct{ tls, want string }{
		"no object":     {`{"443": "/a"}`, `1:66: incoming.tls.443: want an object, got the string "/a"`},
		"port":          {`{"https": {}}`, `1:59: incoming.tls.https: port https is not a whole number from 1 to 65535`},
		"near key":      {`{"443": {"cert": "/a", "keys": "/b", "key": "/b"}}`, `1:81: incoming.tls.443.keys: unknown key; did you mean "key"?`},
		"no key":        {`{"443": {"cert": "/a"}}`, `1:66: incoming.tls.443.key: missing`},
		"relative":      {`{"443": {"cert": "a.crt", "key": "/b"}}`, `1:75: incoming.tls.443.cert: "a.crt" is not an absolute path`},
		"empty":         {`{"443": {"cert": "", "key": "/b"}}`, `1:75: incoming.tls.443.cert: the path of a file is empty`},
		"from":          {`{"443": {"cert": "/a", "key": "/b", "from": "workstatoin"}}`, `1:102: incoming.tls.443.from: unknown value "workstatoin"; did you mean "workstation"?`},
		"debuggee":      {`{"443": {"cert": "/a", "key": "/b", "debuggee": "http"}}`, `1:106: incoming.tls.443.debuggee: unknown value "http"; known are tls, plain`},
		"more":          {`{"443": {"cert": "/a", "key": "/b", "more": [{"key": "/c"}]}}`, `1:103: incoming.tls.443.more[0].cert: missing`},
		"client":        {`{"443": {"cert": "/a", "key": "/b", "client": {"cert": "/c", "key": "/d"}}}`, `1:104: incoming.tls.443.client.ca: missing`},
		"another port":  {`{"443": {"cert": "/a", "key": "/b"}}, "ports": {"80": 80}`, `1:66: incoming.tls.443: port 443 is not among "ports"`},
		"another mode":  {`{"443": {"cert": "/a", "key": "/b"}}, "mode": "mirror"`, ``},
		"without those": {`{}`, ``},
	} {
		t.Run(name, func(t *testing.T) {
			mode := `"mode": "steal", `
			if name == "another mode" {
				mode, test.want = "", `1:41: incoming.tls: is for "mode" "steal", where the debuggee answers; the mode is "mirror"`
			}
			block := `{"target": "pod/a", "incoming": {` + mode + `"tls": ` + test.tls + `}}`
			if test.want == "" {
				if _, err := config.Parse([]byte(block)); err != nil {
					t.Error(err)
				}
				return
			}
			got := problems(t, block)
			if len(got) != 1 || got[0].String() != test.want {
				t.Errorf("Parse(%s)\n got %s\nwant %s", block, got[0].String(), test.want)
			}
		})
	}
	got := problems(t, `{"target": "targetless", "incoming": {"tls": {}}}`)
	if len(got) == 0 || got[0].String() != "1:46: incoming.tls: a session without a target receives no requests" {
		t.Errorf("targetless: %v", got)
	}
}
