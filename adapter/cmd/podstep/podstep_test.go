package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// call runs one command line with sessions that note what they are given.
type call struct {
	podstep
	stdout, stderr strings.Builder
	mirror         config.Mirror
	argv           []string
}

func newCall(status int, err error) *call {
	c := &call{}
	c.in, c.out, c.errs = strings.NewReader(""), &c.stdout, &c.stderr
	c.getenv = func(string) string { return "" }
	c.sessions.run = func(_ context.Context, m config.Mirror, argv []string, _ *zap.Logger) (int, error) {
		c.mirror, c.argv = m, argv
		return status, err
	}
	return c
}

func TestRunTakesFlagsOnTopOfTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mirror.json")
	block := `{"target": "process/1", "incoming": {"mode": "steal", "ports": {"80": 8080}}, "outgoing": {"local": [":443"]}, "env": {"override": {"A": "1"}}}`
	if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
		t.Fatal(err)
	}
	ofFile, err := config.Parse([]byte(block))
	if err != nil {
		t.Fatal(err)
	}
	ofFlags := config.Default()
	ofFlags.Target = "process/7"
	tests := map[string]struct {
		args string
		base config.Mirror
		want func(*config.Mirror)
	}{
		"file alone":     {"-f FILE", ofFile, func(*config.Mirror) {}},
		"flags alone":    {"--target process/7", ofFlags, func(*config.Mirror) {}},
		"another target": {"-f FILE --target process/7", ofFile, func(m *config.Mirror) { m.Target = "process/7" }},
		"steal": {"--target process/7 --steal 80 --steal 443:8443", ofFlags, func(m *config.Mirror) {
			m.Incoming.Mode, m.Incoming.Ports = "steal", map[uint16]uint16{80: 80, 443: 8443}
		}},
		"mirror": {"-f FILE --mirror 81:8081", ofFile, func(m *config.Mirror) {
			m.Incoming.Mode, m.Incoming.Ports = "mirror", map[uint16]uint16{81: 8081}
		}},
		"filter": {"-f FILE --filter mine", ofFile, func(m *config.Mirror) { m.Incoming.Filter = config.Filter{Mine: true} }},
		"local and env": {"-f FILE --local 10.0.0.1 --env B=x=y --env A=2", ofFile, func(m *config.Mirror) {
			m.Outgoing.Local = []string{":443", "10.0.0.1"}
			m.Env.Override = map[string]string{"A": "2", "B": "x=y"}
		}},
		"cluster": {"--target deploy/web -n shop --context me@lab --kubeconfig /k --pods one --agent job --linger 0", ofFlags, func(m *config.Mirror) {
			m.Target, m.Namespace, m.Context, m.Kubeconfig, m.Pods = "deployment/web", "shop", "me@lab", "/k", config.PodsOne
			m.Agent = config.Agent{Kind: config.AgentJob}
		}},
		"targetless":      {"--target targetless", ofFlags, func(m *config.Mirror) { m.Target, m.Incoming.Mode = "targetless", config.ModeOff }},
		"nothing of it":   {"--target process/7 --no-dns --no-hostname --no-outgoing --no-env", ofFlags, func(m *config.Mirror) { m.DNS, m.Hostname, m.Outgoing.TCP, m.Env.Include = false, false, false, nil }},
		"without dashes":  {"--target process/7", ofFlags, func(*config.Mirror) {}},
		"command's flags": {"--target process/7", ofFlags, func(*config.Mirror) {}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := tt.base
			tt.want(&want)
			argv := []string{"sh", "--target", "x", "--", "-f"}
			args := append([]string{"run"}, strings.Fields(strings.ReplaceAll(tt.args, "FILE", file))...)
			if name != "without dashes" {
				args = append(args, "--")
			}
			c := newCall(0, nil)
			if status := c.execute(t.Context(), append(args, argv...)); status != 0 {
				t.Fatalf("exit status %d: %s", status, c.stderr.String())
			}
			if diff := cmp.Diff(want, c.mirror); diff != "" {
				t.Errorf("mirror (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(argv, c.argv); diff != "" {
				t.Errorf("command (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRunKeepsTheFilterOfTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mirror.json")
	if err := os.WriteFile(file, []byte(`{"target": "process/1", "incoming": {"mode": "off", "ports": {"80": 8080}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCall(0, nil)
	if status := c.execute(t.Context(), []string{"run", "-f", file, "--steal", "81", "--filter", `{"path": "/a"}`, "sh"}); status != 0 {
		t.Fatalf("exit status %d: %s", status, c.stderr.String())
	}
	if got := c.mirror.Incoming.Filter.String(); got != `path = "/a"` || c.mirror.Incoming.Mode != config.ModeSteal {
		t.Errorf("mode %s, filter %s", c.mirror.Incoming.Mode, got)
	}
	if err := os.WriteFile(file, []byte(`{"target": "process/1", "incoming": {"ports": {"80": 8080}, "filter": "mine"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c = newCall(0, nil)
	if status := c.execute(t.Context(), []string{"run", "-f", file, "--steal", "81", "sh"}); status != 0 {
		t.Fatalf("exit status %d: %s", status, c.stderr.String())
	}
	want := config.Default().Incoming
	want.Mode, want.Ports, want.Filter = config.ModeSteal, map[uint16]uint16{81: 81}, config.Filter{Mine: true}
	if diff := cmp.Diff(want, c.mirror.Incoming); diff != "" {
		t.Errorf("incoming (-want +got):\n%s", diff)
	}
}

func TestRunPassesTheExitStatusThrough(t *testing.T) {
	for _, status := range []int{0, 1, 3, 143} {
		c := newCall(status, nil)
		if got := c.execute(t.Context(), []string{"run", "--target", "process/1", "--", "sh"}); got != status || c.stdout.Len()+c.stderr.Len() > 0 {
			t.Errorf("exit status %d with output %q%q, want %d and none", got, c.stdout.String(), c.stderr.String(), status)
		}
	}
}

func TestFaultsArePrintedWithIDAndAdvice(t *testing.T) {
	gone := fault.New(fault.TargetGone, "process 7 is gone", errors.New("no such process"))
	c := newCall(0, gone)
	if status := c.execute(t.Context(), []string{"run", "--target", "process/7", "sh"}); status != statusFault {
		t.Errorf("exit status %d, want %d", status, statusFault)
	}
	want := "podstep: process 7 is gone: no such process [podstep-2004]\nStart it again, then start the session again.\n"
	if diff := cmp.Diff(want, c.stderr.String()); diff != "" {
		t.Errorf("standard error (-want +got):\n%s", diff)
	}
	c = newCall(0, gone)
	c.execute(t.Context(), []string{"run", "-o", "json", "--target", "process/7", "sh"})
	want = `{
  "id": 2004,
  "what": "process 7 is gone",
  "cause": "no such process",
  "hint": "Start it again, then start the session again."
}
`
	if diff := cmp.Diff(want, c.stderr.String()); diff != "" {
		t.Errorf("standard error (-want +got):\n%s", diff)
	}
}

func TestUnexpectedErrorsAreInternal(t *testing.T) {
	c := newCall(0, io.ErrUnexpectedEOF)
	if status := c.execute(t.Context(), []string{"run", "--target", "process/7", "sh"}); status != statusFault {
		t.Errorf("exit status %d, want %d", status, statusFault)
	}
	if !strings.Contains(c.stderr.String(), "[podstep-9001]") {
		t.Errorf("standard error is %q, want an internal fault", c.stderr.String())
	}
}

func TestLogGoesWhereItIsAsked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	for name, tt := range map[string]struct {
		args []string
		env  map[string]string
		want string
	}{
		"warnings by default": {nil, nil, "w"},
		"flag":                {[]string{"--log-level", "info"}, nil, "iw"},
		"environment":         {nil, map[string]string{"PODSTEP_LOG": "debug"}, "diw"},
		"flag wins":           {[]string{"--log-level", "error"}, map[string]string{"PODSTEP_LOG": "debug"}, ""},
		"file":                {[]string{"--log-file", file}, nil, "w"},
		"file of environment": {nil, map[string]string{"PODSTEP_LOG_FILE": file}, "w"},
	} {
		t.Run(name, func(t *testing.T) {
			_ = os.Remove(file)
			c := newCall(0, nil)
			c.getenv = func(name string) string { return tt.env[name] }
			c.sessions.run = func(_ context.Context, _ config.Mirror, _ []string, log *zap.Logger) (int, error) {
				log.Debug("d")
				log.Info("i")
				log.Warn("w")
				return 0, nil
			}
			if status := c.execute(t.Context(), append(append([]string{"run", "--target", "process/7"}, tt.args...), "sh")); status != 0 {
				t.Fatalf("exit status %d: %s", status, c.stderr.String())
			}
			lines := c.stderr.String()
			if strings.Contains(name, "file") {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				lines = string(text)
			}
			got := ""
			for line := range strings.Lines(lines) {
				got += strings.Fields(line)[2]
			}
			if got != tt.want {
				t.Errorf("logged %q, want %q:\n%s", got, tt.want, lines)
			}
		})
	}
}

func TestDAPServesStandardInputAndOutput(t *testing.T) {
	c := newCall(0, nil)
	c.in = strings.NewReader("ping")
	c.sessions.dap = func(_ context.Context, editor io.ReadWriteCloser, _ string, _ *zap.Logger) error {
		_, err := io.Copy(editor, editor)
		return errors.Join(err, editor.Close())
	}
	if status := c.execute(t.Context(), []string{"dap"}); status != 0 || c.stdout.String() != "ping" {
		t.Errorf("exit status %d, output %q; want 0 and the input", status, c.stdout.String())
	}
}

func TestDAPPassesTheDebuggerOn(t *testing.T) {
	c := newCall(0, nil)
	got := ""
	c.sessions.dap = func(_ context.Context, editor io.ReadWriteCloser, debugger string, _ *zap.Logger) error {
		got = debugger
		return editor.Close()
	}
	if status := c.execute(t.Context(), []string{"dap", "--debugger", "dlv"}); status != 0 || got != "dlv" {
		t.Errorf("exit status %d, debugger %q", status, got)
	}
}

func TestDAPCloseEndsAReadOfAPipe(t *testing.T) {
	in, keepsOpen, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer keepsOpen.Close()
	c := newCall(0, nil)
	c.in = in
	c.sessions.dap = func(_ context.Context, editor io.ReadWriteCloser, _ string, _ *zap.Logger) error {
		ended := make(chan error)
		go func() {
			_, err := editor.Read(make([]byte, 1))
			ended <- err
		}()
		closed := editor.Close()
		if err := <-ended; err == nil {
			return errors.New("the read ended without an error")
		}
		return closed
	}
	if status := c.execute(t.Context(), []string{"dap"}); status != 0 {
		t.Errorf("exit status %d: %s", status, c.stderr.String())
	}
}

func TestDAPListensAndSaysWhere(t *testing.T) {
	c := newCall(0, nil)
	said, out := io.Pipe()
	c.out = out
	c.sessions.dap = func(_ context.Context, editor io.ReadWriteCloser, _ string, _ *zap.Logger) error {
		_, err := io.CopyN(editor, editor, 4)
		return errors.Join(err, editor.Close())
	}
	status := make(chan int)
	go func() { status <- c.execute(t.Context(), []string{"dap", "--listen", "127.0.0.1:0"}) }()
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "DAP server listening at: ")
	if !ok {
		t.Fatalf("the first line is %q", line)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || string(answer) != "ping" {
		t.Errorf("answer %q, %v; want ping", answer, err)
	}
	_ = conn.Close()
	if got := <-status; got != 0 {
		t.Errorf("exit status %d: %s", got, c.stderr.String())
	}
}
