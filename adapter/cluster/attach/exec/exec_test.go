package exec

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var call = Call{Namespace: "shop", Pod: "web-0", Container: "app", Command: []string{"/podstep-agent", "join"}}

func echo(s streams) int {
	if _, err := io.Copy(s.stdout, s.stdin); err != nil {
		return 1
	}
	return 0
}

// overBoth runs a test once for each transport.
func overBoth(t *testing.T, run func(streams) int, test func(t *testing.T, s *server, d *Dialer)) {
	for _, transport := range []string{WebSocket, SPDY} {
		t.Run(transport, func(t *testing.T) {
			s := serve(t, run)
			test(t, s, s.dialer(t, transport))
		})
	}
}

func dial(t *testing.T, d *Dialer) *Conn {
	t.Helper()
	conn, err := d.Dial(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestConnCarriesBytesBothWaysAtOnce(t *testing.T) {
	overBoth(t, echo, func(t *testing.T, _ *server, d *Dialer) {
		conn := dial(t, d)
		sent := make([]byte, 3<<20)
		_, _ = rand.Read(sent)
		failed := make(chan error, 1)
		go func() {
			var err error
			// Lengths around those of messages, and one that is none of them.
			for rest, n := sent, 0; len(rest) > 0 && err == nil; rest = rest[n:] {
				if n, err = conn.Write(rest[:min(len(rest), n+maxMessage-1)]); n == 0 {
					break
				}
			}
			failed <- err
		}()
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(conn, got); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, sent) {
			t.Error("other bytes came back")
		}
	})
}

func TestReadSaysHowTheProgramEnded(t *testing.T) {
	for name, tc := range map[string]struct {
		run  func(streams) int
		want func(error) bool
	}{
		"well": {func(s streams) int { _, _ = s.stdout.Write([]byte("bye")); return 0 }, func(err error) bool { return errors.Is(err, io.EOF) }},
		"with a status": {
			func(s streams) int {
				_, _ = s.stdout.Write([]byte("bye"))
				_, _ = io.WriteString(s.stderr, "no luck\n")
				return 7
			},
			func(err error) bool {
				var exit *ExitError
				return errors.As(err, &exit) && exit.Code == 7 && exit.Words == "no luck" && strings.HasSuffix(err.Error(), "exit code 7: no luck")
			},
		},
		"never begun": {
			func(s streams) int { _, _ = s.stdout.Write([]byte("bye")); return cannotStart },
			func(err error) bool {
				var exit *ExitError
				return errors.As(err, &exit) && exit.Code == 0 && exit.Text == "no such file"
			},
		},
		"by the connection": {func(s streams) int { _, _ = s.stdout.Write([]byte("bye")); return -1 }, func(err error) bool { return errors.Is(err, ErrLost) }},
	} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, tc.run, func(t *testing.T, _ *server, d *Dialer) {
				conn := dial(t, d)
				said, err := io.ReadAll(readerOf(conn))
				if err != nil || string(said) != "bye" && name != "by the connection" {
					t.Errorf("read %q, %v", said, err)
				}
				_, err = conn.Read(make([]byte, 1))
				if !tc.want(err) {
					t.Errorf("the end is %v", err)
				}
				if _, again := conn.Read(make([]byte, 1)); again.Error() != err.Error() {
					t.Errorf("asked again: %v, before %v", again, err)
				}
			})
		})
	}
}

// readerOf makes every end an io.EOF.
func readerOf(r io.Reader) io.Reader {
	return readFunc(func(b []byte) (int, error) {
		n, err := r.Read(b)
		if err != nil {
			err = io.EOF
		}
		return n, err
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

func TestCloseEndsTheProgramAndARead(t *testing.T) {
	ended := make(chan struct{}, 1)
	waiting := func(s streams) int {
		_, _ = s.stdout.Write([]byte("x"))
		_, _ = io.Copy(io.Discard, s.stdin)
		ended <- struct{}{}
		return 0
	}
	overBoth(t, waiting, func(t *testing.T, _ *server, d *Dialer) {
		conn := dial(t, d)
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		read := make(chan error, 1)
		go func() { _, err := conn.Read(make([]byte, 1)); read <- err }()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		select {
		case err := <-read:
			if err == nil {
				t.Error("a read after Close is no error")
			}
		case <-time.After(10 * time.Second):
			t.Fatal("Close leaves a read waiting")
		}
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatal("the program goes on")
		}
		_ = conn.Close()
	})
}

func TestDialFallsBackToSPDYAndRemembers(t *testing.T) {
	s := serve(t, echo)
	s.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if isWebSocket(r) {
			http.Error(w, "this proxy knows no such thing", http.StatusBadRequest)
			return true
		}
		return false
	}
	d := s.dialer(t, "")
	for _, requests := range []int32{2, 3} {
		conn := dial(t, d)
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if got := s.requests.Load(); got != requests {
			t.Errorf("%d requests, want %d", got, requests)
		}
	}
	if _, err := s.dialer(t, WebSocket).Dial(t.Context(), call); err == nil {
		t.Error("a transport that is forced fell back")
	}
}

func TestDialKeepsTheServersRefusal(t *testing.T) {
	for _, transport := range []string{"", WebSocket, SPDY} {
		t.Run("transport="+transport, func(t *testing.T) {
			s := serve(t, echo)
			s.answer = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusForbidden)
				_ = json.NewEncoder(w).Encode(metav1.Status{
					TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
					Status:   metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: "bob may not",
				})
				return true
			}
			_, err := s.dialer(t, transport).Dial(t.Context(), call)
			if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "bob may not") {
				t.Errorf("got %v, want the server's refusal", err)
			}
		})
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	for _, transport := range []string{WebSocket, SPDY} {
		t.Run(transport, func(t *testing.T) {
			asked, release := make(chan struct{}, 1), make(chan struct{})
			s := serve(t, echo)
			s.answer = func(http.ResponseWriter, *http.Request) bool {
				asked <- struct{}{}
				<-release
				return true
			}
			defer close(release)
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-asked; cancel() }()
			if _, err := s.dialer(t, transport).Dial(ctx, call); err == nil {
				t.Error("dialled a server that does not answer")
			}
		})
	}
}

func TestDialSaysThatNobodyIsThere(t *testing.T) {
	for _, transport := range []string{"", WebSocket, SPDY} {
		s := serve(t, echo)
		d := s.dialer(t, transport)
		s.Close()
		if _, err := d.Dial(t.Context(), call); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("transport %q: %v", transport, err)
		}
	}
}
