package launcher

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"podstep.dev/internal/wire"
	"podstep.dev/launcher/rules"
)

// startHost serves launchers in this process. goleak sees what it leaves.
func startHost(t testing.TB, opts Options) *Host {
	t.Helper()
	link := newMemoryLink()
	opts.Link = link
	opts.Plan.Rules = rules.Config{TCP: true, DNS: true}
	dir, err := os.MkdirTemp("", "podstep-host")
	if err != nil {
		t.Fatal(err)
	}
	host, err := Listen(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
		link.end()
		if _, err := os.Lstat(filepath.Join(dir, socketName)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left: %v", err)
		}
		_ = os.RemoveAll(dir)
	})
	return host
}

func TestCloseEndsTheDebuggee(t *testing.T) {
	listening := make(chan uint16, 1)
	host := startHost(t, Options{Listening: func(_ context.Context, port uint16) { listening <- port }})
	var out bytes.Buffer
	server := exec.Command("true")
	server.Args = host.Command([]string{python, "-u", "-m", "http.server", "8090", "--directory", "/"}, How{})
	server.Path, server.Stdout, server.Stderr = server.Args[0], &out, &out
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if port := <-listening; port != 8090 {
		t.Errorf("told of port %d", port)
	}
	if body, err := request(t.Context(), host, 8090); err != nil || !strings.Contains(body, "404") {
		t.Errorf("the debuggee answered %q, %v", body, err)
	}
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
	err := server.Wait()
	if got := exitStatus(server.ProcessState.Sys().(syscall.WaitStatus)); got.Signal != syscall.SIGKILL {
		t.Errorf("the debuggee ended with %+v, %v: %s", got, err, out.String())
	}
	if _, err := host.Deliver(t.Context(), 8090, client, podPort(8090)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("deliver after the end: %v", err)
	}
}

func TestHostOutlivesPeersThatMakeNoSense(t *testing.T) {
	host := startHost(t, Options{})
	dial := func() *net.UnixConn {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: filepath.Join(host.dir, socketName), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	greeted := func(conn *net.UnixConn) *net.UnixConn {
		if err := writeMessage(conn, greeting{Version: handoverVersion}); err != nil {
			t.Fatal(err)
		}
		var a answer
		if err := readMessage(conn, &a); err != nil || a.Refused != "" {
			t.Fatal(err, a.Refused)
		}
		return conn
	}
	for name, nonsense := range map[string][]byte{
		"too long": binary.BigEndian.AppendUint32(nil, wire.MaxControl+1),
		"no JSON":  append(binary.BigEndian.AppendUint32(nil, 2), "{x"...),
		"cut":      binary.BigEndian.AppendUint32(nil, 100),
	} {
		conn := dial()
		if _, err := conn.Write(nonsense); err != nil {
			t.Fatal(err)
		}
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(conn); err != nil || len(rest) != 0 {
			t.Errorf("%s: answered %q, %v", name, rest, err)
		}
	}
	conn := dial()
	if err := writeMessage(conn, greeting{Version: math.MaxInt32}); err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := readMessage(conn, &a); err != nil || !strings.Contains(a.Refused, "different releases") {
		t.Errorf("another release: %+v, %v", a, err)
	}
	conn = greeted(dial())
	if _, err := conn.Write([]byte{0}); err != nil { // no descriptor with it
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("without a descriptor: %v", err)
	}
	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := sendDescriptor(greeted(dial()), int(file.Fd())); err != nil { // no listener
		t.Fatal(err)
	}
	dial() // and says nothing
	if out, err := exec.Command("sh", "-c", strings.Join(host.Command([]string{"uname"}, How{}), " ")).CombinedOutput(); err != nil {
		t.Errorf("the next launcher: %v: %s", err, out)
	}
}

func FuzzReadMessage(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var a answer
		r := bytes.NewReader(raw)
		if err := readMessage(r, &a); err == nil && len(raw)-r.Len() != 4+int(binary.BigEndian.Uint32(raw)) {
			t.Errorf("read %d bytes of %q", len(raw)-r.Len(), raw)
		}
	})
}

func BenchmarkExec(b *testing.B) {
	host := startHost(b, Options{})
	for name, argv := range map[string][]string{
		"native":      {"/bin/true"},
		"intercepted": host.Command([]string{"/bin/true"}, How{}),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := exec.Command(argv[0], argv[1:]...).Run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
