//go:build linux

package local_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/borrow/requests/local"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

const dialEnv = "PODSTEP_TEST_DIAL"

// TestMain also is a client of another user.
func TestMain(m *testing.M) {
	if path := os.Getenv(dialEnv); path != "" {
		os.Exit(dialAndAsk(path))
	}
	goleak.VerifyTestMain(m)
}

func dialAndAsk(path string) int {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return 3
	}
	_, _ = conn.Write([]byte("GET /session HTTP/1.0\r\n\r\n"))
	if n, _ := conn.Read(make([]byte, 1)); n > 0 {
		return 0
	}
	return 1
}

const (
	get    = "GET /a?token=s3cret HTTP/1.1\r\nHost: shop\r\n\r\n"
	answer = "HTTP/1.1 200 OK\r\n\r\n<yes>"
)

func come(l *requests.Log) {
	r := l.Begin(wire.Header{Port: 80, Protocol: wire.HTTP1})
	r.Request([]byte(get))
	r.Response([]byte(answer))
	r.End(nil)
}

// serve serves a log in a directory that is short enough for a socket.
func serve(t *testing.T, opts requests.Options, zap *zap.Logger) (string, *requests.Log, *local.Server) {
	t.Helper()
	dir, err := os.MkdirTemp("", "podstep-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l := requests.New(opts)
	s, err := local.Serve(t.Context(), dir, local.Session{Target: "process/1", Mode: "steal"}, l, nil, zap)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return dir, l, s
}

func dial(t *testing.T, dir string) *local.Client {
	t.Helper()
	c, err := local.Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestRequestsAreListedAndShown(t *testing.T) {
	dir, l, _ := serve(t, requests.Options{}, zap.NewNop())
	c := dial(t, dir)
	if a := c.About; a.ID != filepath.Base(dir) || a.Target != "process/1" || a.Mode != "steal" || a.PID != os.Getpid() || a.Since.IsZero() {
		t.Errorf("about: %+v", a)
	}
	for range 3 {
		come(l)
	}
	list, err := c.List(t.Context(), 1, 1)
	if err != nil || len(list) != 1 || list[0].ID != 3 || list[0].Query != "token=****" {
		t.Errorf("list: %v, %v", list, err)
	}
	har, err := c.Archive(t.Context(), requests.Plain)
	if err != nil || len(har.Log.Entries) != 3 || har.Log.Entries[0].Request.URL != "http://shop/a?token=s3cret" {
		t.Errorf("archive: %v, %v", har, err)
	}
	for form, want := range map[requests.Form]string{
		requests.AsText: "\n<yes>\n", requests.AsHTTP: "GET /a?token=**** HTTP/1.1\nHost: shop\n", requests.AsCurl: "curl 'http://shop/a?token=****'",
		requests.AsHAR: `"url": "http://shop/a?token=****"`, requests.AsJSON: `"text": "<yes>"`,
	} {
		text, err := c.Show(t.Context(), 2, form, requests.Masked)
		if err != nil || !strings.Contains(text, want) || strings.Contains(text, "s3cret") {
			t.Errorf("%s: %q, %v", form, text, err)
		}
		if text, err := c.Show(t.Context(), 2, form, requests.Plain); err != nil || !strings.Contains(text, "s3cret") {
			t.Errorf("%s, plain: %q, %v", form, text, err)
		}
	}
	var p *local.Problem
	if _, err := c.Show(t.Context(), 9, requests.AsText, requests.Masked); !errors.As(err, &p) || p.Status != 404 {
		t.Errorf("an unknown one: %v", err)
	}
	if _, err := c.Show(t.Context(), 2, "yaml", requests.Masked); !errors.As(err, &p) || p.Status != 400 {
		t.Errorf("an unknown form: %v", err)
	}
}

func TestFollowersAreToldUntilTheSessionIsOver(t *testing.T) {
	dir, l, s := serve(t, requests.Options{}, zap.NewNop())
	come(l)
	c := dial(t, dir)
	var told []uint64
	err := c.Follow(t.Context(), 0, func(change local.Change) error {
		for _, r := range change.Requests {
			told = append(told, r.ID)
		}
		switch len(told) {
		case 1:
			come(l)
		case 2:
			go func() { _ = s.Close() }()
		}
		return nil
	})
	if diff := cmp.Diff([]uint64{1, 2}, told); diff != "" || !errors.Is(err, local.ErrGone) {
		t.Errorf("told %v, %v", told, err)
	}
	if _, err := local.Dial(t.Context(), dir); !errors.Is(err, local.ErrGone) {
		t.Errorf("after its end: %v", err)
	}
}

func TestFollowingEndsWithItsContext(t *testing.T) {
	dir, l, _ := serve(t, requests.Options{}, zap.NewNop())
	come(l)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	if err := dial(t, dir).Follow(ctx, 0, func(local.Change) error { cancel(enough); return nil }); !errors.Is(err, enough) {
		t.Errorf("Follow: %v", err)
	}
}

func TestReplayAnswersWithWhatCame(t *testing.T) {
	began := make(chan struct{}, 1)
	replay := func(ctx context.Context, _ uint16, raw []byte, rec *requests.Recording) error {
		if strings.Contains(string(raw), "/slow") {
			began <- struct{}{}
			<-ctx.Done()
			return context.Cause(ctx)
		}
		rec.Response([]byte("HTTP/1.1 201 Created\r\n\r\n" + string(raw[:6])))
		return nil
	}
	dir, l, s := serve(t, requests.Options{Replay: replay}, zap.NewNop())
	come(l)
	c := dial(t, dir)
	for edited, want := range map[string]string{"": "GET /a", "PUT /b HTTP/1.1\nHost: x\n": "PUT /b"} {
		e, err := c.Replay(t.Context(), 1, edited)
		if err != nil || e.Status != 201 || e.ReplayOf != 1 || e.Response.Body.Text != want {
			t.Errorf("%q: %+v, %v", edited, e, err)
		}
	}
	var p *local.Problem
	if _, err := c.Replay(t.Context(), 1, "no request"); !errors.As(err, &p) || p.Status != 400 || !strings.Contains(p.Text, "no request") {
		t.Errorf("nonsense: %v", err)
	}
	if _, err := c.Replay(t.Context(), 99, ""); !errors.As(err, &p) || p.Status != 404 {
		t.Errorf("an unknown one: %v", err)
	}
	// Whoever asked for a replay goes away: it ends.
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	if _, err := c.Replay(ctx, 1, "GET /slow HTTP/1.1\nHost: x\n"); !errors.Is(err, context.Canceled) {
		t.Errorf("a replay that was given up: %v", err)
	}
	testkit.Eventually(t, "the replay ends", func() bool { list := l.List(3, 0); return len(list) == 1 && list[0].Done })
	// The session ends: so do its replays.
	go func() { <-began; _ = s.Close() }()
	if e, err := c.Replay(t.Context(), 1, "GET /slow HTTP/1.1\nHost: x\n"); err == nil && e.Failed == "" {
		t.Errorf("a replay at the session's end: %+v", e)
	}
}

func TestTheSocketOfAKilledSessionIsRemoved(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "requests.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	if _, err := local.Dial(t.Context(), dir); !errors.Is(err, local.ErrGone) {
		t.Errorf("Dial: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket: %v", err)
	}
}

func TestAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a client of another user is started")
	}
	core, logged := observer.New(zap.WarnLevel)
	dir, _, _ := serve(t, requests.Options{}, zap.New(core))
	path := filepath.Join(dir, "requests.sock")
	for _, open := range []bool{false, true} {
		if open { // even when somebody has opened the directory to all
			if err := errors.Join(os.Chmod(dir, 0o777), os.Chmod(path, 0o777)); err != nil {
				t.Fatal(err)
			}
		}
		client := exec.CommandContext(t.Context(), "/proc/self/exe")
		client.Env = append(os.Environ(), dialEnv+"="+path)
		client.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
		want := map[bool]int{false: 3, true: 1}[open]
		var exit *exec.ExitError
		if err := client.Run(); !errors.As(err, &exit) || exit.ExitCode() != want {
			t.Errorf("a client of uid 12345 ended with %v, want exit status %d", err, want)
		}
	}
	if n := logged.FilterMessage("connection refused").Len(); n != 1 {
		t.Errorf("%d refusals were logged, want 1", n)
	}
}
