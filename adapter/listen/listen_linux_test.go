package listen_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"podstep.dev/adapter/listen"
)

// dialEnv makes the test program a client that connects, sends a byte and reads until the end.
const dialEnv = "PODSTEP_TEST_DIAL"

func TestMain(m *testing.M) {
	if address := os.Getenv(dialEnv); address != "" {
		os.Exit(dialAndRead(address))
	}
	goleak.VerifyTestMain(m)
}

// dialAndRead returns 0 when the server answered a byte, 1 when it hung up, 2 when it could not be reached.
func dialAndRead(address string) int {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 2
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("x")); err != nil {
		return 1
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		return 1
	}
	return 0
}

// echoByte is a session that answers its first byte.
func echoByte(_ context.Context, conn net.Conn) error {
	defer conn.Close()
	_, err := io.CopyN(conn, conn, 1)
	return err
}

func TestLoopbackRefusesAddressesThatOthersReach(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", "[::]:0", "192.0.2.1:0"} {
		if _, err := listen.Loopback(t.Context(), address); !errors.Is(err, listen.ErrNotLoopback) {
			t.Errorf("Loopback(%q) = %v, want ErrNotLoopback", address, err)
		}
	}
	for _, address := range []string{"", ":0", "localhost:0", "127.0.0.1", "127.0.0.1:70000"} {
		if l, err := listen.Loopback(t.Context(), address); err == nil {
			_ = l.Close()
			t.Errorf("Loopback(%q) = nil, want an error", address)
		}
	}
}

func TestServeAdmitsTheSameUserAndEndsAfterTheLastSession(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := listen.Loopback(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- listen.Serve(t.Context(), l, zap.NewNop(), echoByte) }()
		if status := dialAndRead(l.Addr().String()); status != 0 {
			t.Errorf("a client of the same user got status %d, want 0", status)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
	}
}

func TestServeAdmitsAnIPv4ConnectionOfAnIPv6Socket(t *testing.T) {
	l, err := listen.Loopback(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- listen.Serve(t.Context(), l, zap.NewNop(), echoByte) }()
	fd, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	to := &syscall.SockaddrInet6{Port: l.Addr().(*net.TCPAddr).Port, Addr: [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}}
	if err := syscall.Connect(fd, to); err != nil {
		t.Fatal(err)
	}
	b := []byte("x")
	if _, err := syscall.Write(fd, b); err != nil {
		t.Fatal(err)
	}
	if n, err := syscall.Read(fd, b); n != 1 || err != nil {
		t.Errorf("read = %d, %v; want the byte back", n, err)
	}
	_ = syscall.Close(fd)
	if err := <-served; err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

func TestServeRefusesAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a client of another user is started")
	}
	l, err := listen.Loopback(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	core, logged := observer.New(zap.WarnLevel)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- listen.Serve(ctx, l, zap.New(core), echoByte) }()
	client := exec.CommandContext(t.Context(), "/proc/self/exe")
	client.Env = append(os.Environ(), dialEnv+"="+l.Addr().String())
	client.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	err = client.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("a client of uid 12345 ended with %v, want exit status 1", err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
	if n := logged.FilterMessage("editor refused").Len(); n != 1 {
		t.Errorf("%d refusals were logged, want 1", n)
	}
}

func TestServeReturnsWhatSessionsReturn(t *testing.T) {
	broken := errors.New("broken")
	l, err := listen.Loopback(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		served <- listen.Serve(t.Context(), l, zap.NewNop(), func(_ context.Context, conn net.Conn) error {
			_ = conn.Close()
			return broken
		})
	}()
	dialAndRead(l.Addr().String())
	if err := <-served; !errors.Is(err, broken) {
		t.Errorf("Serve = %v, want %v", err, broken)
	}
}
