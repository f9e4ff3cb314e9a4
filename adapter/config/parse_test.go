package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
	"podstep.dev/launcher/rules"
)

func TestParseFillsInDefaults(t *testing.T) {
	want := config.Default()
	want.Target = "process/4242"
	got, err := config.Parse([]byte(`{"target": "process/4242"}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
}

func TestParseReadsEveryKey(t *testing.T) {
	got, err := config.Parse([]byte("\ufeff" + `{ // comments and trailing commas are allowed
		"target": "sts/db/container/app", "kubeconfig": "/home/me/.kube/shop", "context": "me@shop", "namespace": "shop", "pods": "one",
		"agent": {"kind": "job", "namespace": "agents", "image": "localhost:5000/agent@sha256:00", "linger": 0},
		"incoming": {"mode": "steal", "ports": {"80": 8080, "443": 8443}, "onPause": "hold", "hold": {"requests": 5, "seconds": 9},
			"onExit": "error", "onHang": "error", "hangTimeout": 30, "fallbackIdempotent": true, "existing": "reset", "probes": "debuggee"},
		"outgoing": {"tcp": false, "local": ["192.168.0.0/16:5432", "10.0.0.1", ":443", "fd00::/8", "[fd00::1]:80", "[fd00::/8]:81",]},
		/* this one too */
		"dns": false, "hostname": false,
		"env": {"include": ["APP_*", "TZ"], "exclude": ["APP_SECRET"], "override": {"LOG": "debug", "EMPTY": ""}},
	} // the end`))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Mirror{
		Target: "sts/db/container/app", Kubeconfig: "/home/me/.kube/shop", Context: "me@shop", Namespace: "shop", Pods: config.PodsOne,
		Agent: config.Agent{Kind: config.AgentJob, Namespace: "agents", Image: "localhost:5000/agent@sha256:00"},
		Incoming: config.Incoming{
			Mode: config.ModeSteal, Ports: map[uint16]uint16{80: 8080, 443: 8443}, OnPause: config.PauseHold, Hold: config.Hold{Requests: 5, Seconds: 9},
			OnExit: config.FailError, OnHang: config.FailError, HangTimeout: 30, FallbackIdempotent: true, Existing: config.ExistingReset, Probes: config.ProbesDebuggee,
		},
		Outgoing: config.Outgoing{Local: []string{"192.168.0.0/16:5432", "10.0.0.1", ":443", "fd00::/8", "[fd00::1]:80", "[fd00::/8]:81"}},
		Env:      config.Env{Include: []string{"APP_*", "TZ"}, Exclude: []string{"APP_SECRET"}, Override: map[string]string{"LOG": "debug", "EMPTY": ""}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
}

func TestParseReportsEachProblem(t *testing.T) {
	tests := map[string]struct{ block, want string }{
		"no object":         {`[]`, `1:1: want an object, got a list`},
		"null":              {`null`, `1:1: want an object, got null`},
		"nothing":           {``, `1:1: not JSON: parsing value: unexpected EOF`},
		"syntax":            {`{"target" "process/1"}`, `1:11: not JSON: invalid character '"' after object name`},
		"no target":         {`{}`, `1:1: target: missing; want KIND/NAME, for example deployment/web, or process/PID`},
		"near key":          {`{"target": "process/1", "incomming": {}}`, `1:25: incomming: unknown key; did you mean "incoming"?`},
		"far key":           {`{"target": "process/1", "x": 1}`, `1:25: x: unknown key; known are target, kubeconfig, context, namespace, pods, agent, incoming, outgoing, dns, hostname, env`},
		"near inner key":    {`{"target": "process/1", "incoming": {"port": {}}}`, `1:38: incoming.port: unknown key; did you mean "ports"?`},
		"other case":        {`{"target": "process/1", "DNS": true}`, `1:25: DNS: unknown key; did you mean "dns"?`},
		"key twice":         {`{"target": "process/1", "dns": true, "dns": true}`, `1:38: dns: given twice`},
		"bool":              {`{"target": "process/1", "dns": "yes"}`, `1:32: dns: want true or false, got the string "yes"`},
		"null bool":         {`{"target": "process/1", "dns": null}`, `1:32: dns: want true or false, got null`},
		"string":            {`{"target": 4242}`, `1:12: target: want a string, got the number 4242`},
		"object":            {`{"target": "process/1", "incoming": "steal"}`, `1:37: incoming: want an object, got the string "steal"`},
		"list":              {`{"target": "process/1", "env": {"include": "*"}}`, `1:44: env.include: want a list, got the string "*"`},
		"element":           {`{"target": "process/1", "env": {"include": ["A", 1]}}`, `1:50: env.include[1]: want a string, got the number 1`},
		"override":          {`{"target": "process/1", "env": {"override": {"PORT": 80}}}`, `1:54: env.override.PORT: want a string, got the number 80`},
		"override name":     {`{"target": "process/1", "env": {"override": {"A=B": ""}}}`, `1:46: env.override.A=B: "A=B" cannot be the name of a variable`},
		"override value":    {`{"target": "process/1", "env": {"override": {"A": "\u0000"}}}`, `1:51: env.override.A: the value has a NUL character, which no variable can have`},
		"empty pattern":     {`{"target": "process/1", "env": {"exclude": [""]}}`, `1:45: env.exclude[0]: the name of a variable is empty`},
		"near mode":         {`{"target": "process/1", "incoming": {"mode": "stael"}}`, `1:46: incoming.mode: unknown value "stael"; did you mean "steal"?`},
		"far mode":          {`{"target": "process/1", "incoming": {"mode": "both"}}`, `1:46: incoming.mode: unknown value "both"; known are mirror, steal, off`},
		"target port 0":     {`{"target": "process/1", "incoming": {"ports": {"0": 80}}}`, `1:48: incoming.ports.0: port 0 is not a whole number from 1 to 65535`},
		"target port name":  {`{"target": "process/1", "incoming": {"ports": {"http": 80}}}`, `1:48: incoming.ports.http: port http is not a whole number from 1 to 65535`},
		"target port form":  {`{"target": "process/1", "incoming": {"ports": {"080": 80}}}`, `1:48: incoming.ports.080: port 080 is not a whole number from 1 to 65535`},
		"port too high":     {`{"target": "process/1", "incoming": {"ports": {"80": 65536}}}`, `1:54: incoming.ports.80: port 65536 is not a whole number from 1 to 65535`},
		"port negative":     {`{"target": "process/1", "incoming": {"ports": {"80": -1}}}`, `1:54: incoming.ports.80: port -1 is not a whole number from 1 to 65535`},
		"port fraction":     {`{"target": "process/1", "incoming": {"ports": {"80": 80.5}}}`, `1:54: incoming.ports.80: port 80.5 is not a whole number from 1 to 65535`},
		"port a string":     {`{"target": "process/1", "incoming": {"ports": {"80": "8080"}}}`, `1:54: incoming.ports.80: want a port number, got the string "8080"`},
		"debuggee's twice":  {`{"target": "process/1", "incoming": {"ports": {"80": 8080, "81": 8080}}}`, `1:66: incoming.ports.81: port 8080 of the debuggee is that of the target's port 80 already`},
		"target's twice":    {`{"target": "process/1", "incoming": {"ports": {"80": 8080, "80": 8081}}}`, `1:60: incoming.ports.80: given twice`},
		"pause":             {`{"target": "pod/a", "incoming": {"mode": "steal", "onPause": "pass"}}`, `1:62: incoming.onPause: unknown value "pass"; known are passthrough, hold, reject`},
		"pause of a mirror": {`{"target": "pod/a", "incoming": {"onPause": "hold"}}`, `1:45: incoming.onPause: is for "mode" "steal", where the debuggee answers; the mode is "mirror"`},
		"hold of nothing":   {`{"target": "pod/a", "incoming": {"hold": {}, "mode": "off"}}`, `1:42: incoming.hold: is for "mode" "steal", where the debuggee answers; the mode is "off"`},
		"held too many":     {`{"target": "pod/a", "incoming": {"mode": "steal", "hold": {"requests": 1001}}}`, `1:72: incoming.hold.requests: want a whole number of requests from 0 to 1000, got 1001`},
		"held not at all":   {`{"target": "pod/a", "incoming": {"mode": "steal", "hold": {"seconds": 0}}}`, `1:71: incoming.hold.seconds: want a whole number of seconds from 1 to 3600, got 0`},
		"hang":              {`{"target": "pod/a", "incoming": {"mode": "steal", "onHang": "retry"}}`, `1:61: incoming.onHang: unknown value "retry"; known are fallback, error`},
		"exit":              {`{"target": "pod/a", "incoming": {"mode": "steal", "onExit": "errors"}}`, `1:61: incoming.onExit: unknown value "errors"; did you mean "error"?`},
		"hang too long":     {`{"target": "pod/a", "incoming": {"mode": "steal", "hangTimeout": 3601}}`, `1:66: incoming.hangTimeout: want a whole number of seconds from 0 to 3600, got 3601`},
		"namespace":         {`{"target": "pod/a", "namespace": "Shop"}`, `1:34: namespace: "Shop" has capital letters, which names in Kubernetes have not; did you mean "shop"?`},
		"namespace form":    {`{"target": "pod/a", "namespace": "a.b"}`, `1:34: namespace: "a.b" cannot be a name in Kubernetes: it has small letters, digits, and between them "-"`},
		"empty context":     {`{"target": "pod/a", "context": ""}`, `1:32: context: empty; leave the key out for the default`},
		"empty kubeconfig":  {`{"target": "pod/a", "kubeconfig": " "}`, `1:35: kubeconfig: empty; leave the key out for the default`},
		"image":             {`{"target": "pod/a", "agent": {"image": "a b"}}`, `1:40: agent.image: a b has a space in it`},
		"pods":              {`{"target": "pod/a", "pods": "some"}`, `1:29: pods: unknown value "some"; did you mean "one"?`},
		"agent kind":        {`{"target": "pod/a", "agent": {"kind": "jbo"}}`, `1:39: agent.kind: unknown value "jbo"; did you mean "job"?`},
		"agent namespace":   {`{"target": "pod/a", "agent": {"namespace": "-a"}}`, `1:44: agent.namespace: "-a" cannot be a name in Kubernetes: it has small letters, digits, and between them "-"`},
		"agent no object":   {`{"target": "pod/a", "agent": "job"}`, `1:30: agent: want an object, got the string "job"`},
		"linger too long":   {`{"target": "pod/a", "agent": {"linger": 3601}}`, `1:41: agent.linger: want a whole number of seconds from 0 to 3600, got 3601`},
		"linger negative":   {`{"target": "pod/a", "agent": {"linger": -1}}`, `1:41: agent.linger: want a whole number of seconds from 0 to 3600, got -1`},
		"linger fraction":   {`{"target": "pod/a", "agent": {"linger": 1.5}}`, `1:41: agent.linger: want a whole number of seconds from 0 to 3600, got 1.5`},
		"linger exponent":   {`{"target": "pod/a", "agent": {"linger": 6e1}}`, `1:41: agent.linger: want a whole number of seconds from 0 to 3600, got 6e1`},
		"linger a string":   {`{"target": "pod/a", "agent": {"linger": "60s"}}`, `1:41: agent.linger: want a number, got the string "60s"`},
		"process's cluster": {`{"target": "process/1", "namespace": "shop"}`, `1:38: namespace: process/1 is on this machine; "namespace" is for a target in a cluster`},
		"process's agent":   {`{"target": "process/1", "agent": {}}`, `1:34: agent: process/1 is on this machine; "agent" is for a target in a cluster`},
		"targetless steal":  {`{"target": "targetless", "incoming": {"mode": "steal"}}`, `1:47: incoming.mode: a session without a target receives no requests; leave it out, or use "off"`},
		"targetless ports":  {`{"target": "targetless", "incoming": {"ports": {"80": 80}}}`, `1:48: incoming.ports: a session without a target receives no requests`},
		"targetless pods":   {`{"target": "targetless", "pods": "all"}`, `1:34: pods: a session without a target has no pods to choose from`},
		"columns are runes": {`{"target": "process/1", /* Äöü */ "x": 1}`, `1:35: x: unknown key; known are target, kubeconfig, context, namespace, pods, agent, incoming, outgoing, dns, hostname, env`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := problems(t, tt.block)
			if len(got) != 1 || got[0].String() != tt.want {
				t.Errorf("Parse(%s)\n got %v\nwant %s", tt.block, got, tt.want)
			}
		})
	}
}

func TestParseReportsAllProblemsInOrder(t *testing.T) {
	block := `{
  "target": "pods/web_0",
  "incoming": {
    "mode": "both",
    "ports": {"80": 0, "0": 80},
  },
  "env": {"inlcude": ["*"]},
  "dns": 1,
}`
	want := []string{
		`2:13: target: target "pods/web_0": "web_0" cannot be a name in Kubernetes: it has small letters, digits, and between them "-" and "."`,
		`4:13: incoming.mode: unknown value "both"; known are mirror, steal, off`,
		`5:21: incoming.ports.80: port 0 is not a whole number from 1 to 65535`,
		`5:24: incoming.ports.0: port 0 is not a whole number from 1 to 65535`,
		`7:11: env.inlcude: unknown key; did you mean "include"?`,
		`8:10: dns: want true or false, got the number 1`,
	}
	var got []string
	for _, p := range problems(t, block) {
		got = append(got, p.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
	_, err := config.Parse([]byte(block))
	if text := fault.As(err).Summary(); !strings.HasPrefix(text, `the "mirror" block has 6 problems: 2:13: target: `) || strings.Contains(text, "\n") {
		t.Errorf("the fault says %q, want the number of problems and all of them on one line", text)
	}
}

func TestParseLeavesOutPositionsThatCameOverAWire(t *testing.T) {
	_, err := config.Parse([]byte(`{"target":"process/1","dns":1}`))
	if got, want := fault.As(err).Summary(), `the "mirror" block is not valid: dns: want true or false, got the number 1`; got != want {
		t.Errorf("Summary = %q, want %q", got, want)
	}
}

func TestParseWithoutATargetTakesNoIncomingTraffic(t *testing.T) {
	for _, block := range []string{`{"target": "targetless"}`, `{"target": "targetless", "incoming": {"mode": "off"}}`, `{"incoming": {}, "target": "targetless", "namespace": "shop"}`} {
		if m, err := config.Parse([]byte(block)); err != nil || m.Incoming.Mode != config.ModeOff {
			t.Errorf("Parse(%s) = mode %q, %v; want off", block, m.Incoming.Mode, err)
		}
	}
}

func TestParseForChecksTheBlockAgainstItsTarget(t *testing.T) {
	block := []byte(`{"target": "deployment/web", "namespace": "shop"}`)
	_, err := config.ParseFor(config.Target{Kind: config.KindProcess, PID: 7}, block)
	if want := "process/7 is on this machine"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("ParseFor a process = %v, want %q", err, want)
	}
	if m, err := config.ParseFor(config.Target{Kind: config.KindTargetless}, block); err != nil || m.Incoming.Mode != config.ModeOff {
		t.Errorf("ParseFor no target = mode %q, %v; want off", m.Incoming.Mode, err)
	}
}

func TestParseForReplacesTheTarget(t *testing.T) {
	target := config.Target{Kind: config.KindProcess, PID: 7}
	for _, block := range []string{`{}`, `{"target": "process/1"}`, `{"target": "nonsense"}`, `{"target": 1}`} {
		if m, err := config.ParseFor(target, []byte(block)); err != nil || m.Target != "process/7" {
			t.Errorf("ParseFor(%s) = %q, %v; want process/7", block, m.Target, err)
		}
	}
	if _, err := config.ParseFor(target, []byte(`{"dns": 1}`)); fault.As(err).ID != fault.BadConfig {
		t.Errorf("ParseFor with a bad key = %v, want BadConfig", err)
	}
}

func TestPausePolicyDependsOnWhoseRequestsTheyAre(t *testing.T) {
	for _, c := range []struct {
		onPause    string
		filtered   bool
		wantPolicy string
	}{
		{"", false, config.PausePassthrough},
		{"", true, config.PauseReject},
		{config.PauseHold, false, config.PauseHold},
		{config.PausePassthrough, true, config.PausePassthrough},
	} {
		if got := (config.Incoming{OnPause: c.onPause}).PausePolicy(c.filtered); got != c.wantPolicy {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestCheckLocalAgreesWithTheRules(t *testing.T) {
	good := []string{"10.0.0.1", "10.0.0.1:80", "10.0.0.0/8", "192.168.0.0/16:5432", ":443", ":65535", "::1", "fd00::/8", "[fd00::1]:80", "[fd00::/8]:80", "0.0.0.0/0", "[10.0.0.1]:80"}
	for _, s := range good {
		if err := config.CheckLocal(s); err != nil {
			t.Errorf("CheckLocal(%q) = %v, want nil", s, err)
		}
		if _, err := rules.Parse(rules.Config{Local: []string{s}}); err != nil {
			t.Errorf("the launcher refuses %q: %v", s, err)
		}
	}
	bad := map[string]string{
		"":                 `empty; want an address, a prefix or a port such as ":443"`,
		":":                `":": want a port after the colon`,
		"10.0.0.1:":        `"10.0.0.1:": want a port after the colon`,
		":0":               `":0": port 0 is not a whole number from 1 to 65535`,
		":https":           `":https": port https is not a whole number from 1 to 65535`,
		"10.0.0.1:65536":   `"10.0.0.1:65536": port 65536 is not a whole number from 1 to 65535`,
		"10.0.0":           `"10.0.0": "10.0.0" is not an IP address`,
		"10.0.0.256":       `"10.0.0.256": "10.0.0.256" is not an IP address`,
		"10.0.0.0/33":      `"10.0.0.0/33": /33 is no prefix length of 10.0.0.0`,
		"10.0.0.0/":        `"10.0.0.0/": / is no prefix length of 10.0.0.0`,
		"10.0.0.1/8":       `"10.0.0.1/8": the address has bits beyond the prefix; did you mean 10.0.0.0/8?`,
		"payments:80":      `"payments:80": "payments" is a name; names are resolved before the connection is made, so only addresses, prefixes and ports can be told apart`,
		"*.internal":       `"*.internal": "*.internal" is a name; names are resolved before the connection is made, so only addresses, prefixes and ports can be told apart`,
		"db.internal/24":   `"db.internal/24": "db.internal" is a name; names are resolved before the connection is made, so only addresses, prefixes and ports can be told apart`,
		"[fd00::1]":        `"[fd00::1]": brackets are for an address with a port; write fd00::1`,
		"[fd00::1":         `"[fd00::1" has no closing bracket`,
		"[fd00::1]80":      `"[fd00::1]80": want :PORT after the bracket`,
		"fe80::1%eth0":     `"fe80::1%eth0": link-local addresses are this machine's anyway; leave the zone "eth0" out`,
		"10.0.0.1:80:90":   `"10.0.0.1:80:90": "10.0.0.1:80:90" is not an IP address`,
		"10.0.0.1 : 80":    `"10.0.0.1 : 80": port  80 is not a whole number from 1 to 65535`,
		"http://10.0.0.1/": `"http://10.0.0.1/": port //10.0.0.1/ is not a whole number from 1 to 65535`,
	}
	for s, want := range bad {
		if err := config.CheckLocal(s); err == nil || err.Error() != want {
			t.Errorf("CheckLocal(%q)\n got %v\nwant %s", s, err, want)
		}
	}
}

// problems returns what Parse reports, which must be a fault.
func problems(t *testing.T, block string) config.Problems {
	t.Helper()
	_, err := config.Parse([]byte(block))
	var f *fault.Fault
	var all config.Problems
	if !errors.As(err, &f) || f.ID != fault.BadConfig || !errors.As(err, &all) {
		t.Fatalf("Parse = %v, want a fault that lists problems", err)
	}
	return all
}
