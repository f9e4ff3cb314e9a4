package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/sourcegraph/jsonrpc2"
	"go.uber.org/goleak"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent answers calls by functions.
type agent struct {
	describe    func(context.Context, wire.DescribeParams) (wire.Description, error)
	subscribe   func(context.Context, wire.SubscribeParams) (wire.Subscription, error)
	unsubscribe func(context.Context, wire.UnsubscribeParams) error
	paused      func(context.Context, wire.PausedParams) error
	patience    func(context.Context, wire.PatienceParams) error
	leave       func(context.Context, wire.LeaveParams) error
	sessions    func(context.Context) (wire.Sessions, error)
	ask         func(context.Context, wire.AskParams) (wire.AskResult, error)
	answer      func(context.Context, wire.AnswerParams) error
}

func (a agent) Answer(ctx context.Context, p wire.AnswerParams) error { return a.answer(ctx, p) }

func (a agent) Ask(ctx context.Context, p wire.AskParams) (wire.AskResult, error) {
	return a.ask(ctx, p)
}

func (a agent) Paused(ctx context.Context, p wire.PausedParams) error { return a.paused(ctx, p) }
func (a agent) Patience(ctx context.Context, p wire.PatienceParams) error {
	return a.patience(ctx, p)
}
func (a agent) Leave(ctx context.Context, p wire.LeaveParams) error { return a.leave(ctx, p) }
func (a agent) Sessions(ctx context.Context) (wire.Sessions, error) { return a.sessions(ctx) }

func (a agent) Describe(ctx context.Context, p wire.DescribeParams) (wire.Description, error) {
	return a.describe(ctx, p)
}

func (a agent) Subscribe(ctx context.Context, p wire.SubscribeParams) (wire.Subscription, error) {
	return a.subscribe(ctx, p)
}

func (a agent) Unsubscribe(ctx context.Context, p wire.UnsubscribeParams) error {
	return a.unsubscribe(ctx, p)
}

// heard collects notices.
type heard struct {
	mu     sync.Mutex
	ended  []wire.EndedParams
	lost   []wire.LostParams
	unread []wire.UnreadParams
	asked  []wire.AskedParams
}

func (h *heard) Asked(p wire.AskedParams) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, p)
}

func (h *heard) Ended(p wire.EndedParams) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = append(h.ended, p)
}

func (h *heard) Closed(wire.ClosedParams) {}

func (h *heard) Unread(p wire.UnreadParams) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unread = append(h.unread, p)
}

func (h *heard) Lost(p wire.LostParams) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost = append(h.lost, p)
}

func conversation(t *testing.T, a Agent, adapter Adapter) (*Client, *Server) {
	t.Helper()
	near, far := net.Pipe()
	server := NewServer(t.Context(), far, a, nil)
	client := NewClient(t.Context(), near, adapter, nil)
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
		<-server.Done()
	})
	return client, server
}

func TestCallsReachTheAgentAndItsAnswersComeBack(t *testing.T) {
	description := wire.Description{
		Hostname: "web-0", Addresses: []netip.Addr{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("fd00::3")},
		// As large as an environment can be, all of it escaped by JSON.
		Environment: []string{"BIG=" + strings.Repeat("\"", 1<<20), "EMPTY="}, ResolvConf: "nameserver 10.96.0.10\n",
	}
	client, _ := conversation(t, agent{
		describe: func(_ context.Context, p wire.DescribeParams) (wire.Description, error) {
			if !p.Environment {
				t.Error("the parameters did not arrive")
			}
			return description, nil
		},
		subscribe: func(_ context.Context, p wire.SubscribeParams) (wire.Subscription, error) {
			if diff := cmp.Diff(wire.SubscribeParams{Port: 80, Mode: wire.ModeSteal}, p); diff != "" {
				t.Error(diff)
			}
			return wire.Subscription{ID: 7}, nil
		},
		unsubscribe: func(_ context.Context, p wire.UnsubscribeParams) error {
			if p.ID != 7 {
				t.Errorf("unsubscribe %d, want 7", p.ID)
			}
			return nil
		},
	}, nil)
	got, err := client.Describe(t.Context(), wire.DescribeParams{Environment: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(description, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	sub, err := client.Subscribe(t.Context(), wire.SubscribeParams{Port: 80, Mode: wire.ModeSteal})
	if err != nil || sub.ID != 7 {
		t.Errorf("subscribed as %+v, %v", sub, err)
	}
	if err := client.Unsubscribe(t.Context(), wire.UnsubscribeParams{ID: 7}); err != nil {
		t.Error(err)
	}
}

func TestPauseFarewellAndListAreCalls(t *testing.T) {
	since := time.Date(2026, 7, 3, 14, 2, 0, 0, time.UTC)
	want := wire.Sessions{Sessions: []wire.Session{{
		Holder: wire.Holder{Name: "alice@laptop", Session: "k3", Since: since}, Program: "podstep 0.1.0",
		Subscriptions: []wire.SubscribeParams{{Port: 80, Mode: wire.ModeSteal, Probes: []string{"/healthz"}, Loopback: true}},
		Paused:        true, PausedSince: since.Add(time.Minute),
	}}}
	var paused []bool
	linger, hold := -1, 0
	client, _ := conversation(t, agent{
		patience: func(_ context.Context, p wire.PatienceParams) error { hold = p.Hold; return nil },
		paused:   func(_ context.Context, p wire.PausedParams) error { paused = append(paused, p.Paused); return nil },
		leave:    func(_ context.Context, p wire.LeaveParams) error { linger = p.Linger; return nil },
		sessions: func(context.Context) (wire.Sessions, error) { return want, nil },
	}, nil)
	for _, p := range []bool{true, false} {
		if err := client.Paused(t.Context(), wire.PausedParams{Paused: p}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(client.Patience(t.Context(), wire.PatienceParams{Hold: 9}), client.Leave(t.Context(), wire.LeaveParams{Linger: 60})); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]bool{true, false}, paused); diff != "" || linger != 60 || hold != 9 {
		t.Errorf("paused %s, linger %d, patience %d", diff, linger, hold)
	}
	got, err := client.Sessions(t.Context())
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("sessions: %v %s", err, diff)
	}
}

func TestMethodThatAnOlderAgentDoesNotKnowIsUnsupported(t *testing.T) {
	near, far := net.Pipe()
	// It answers every call as such an agent does.
	older := handlerFunc(func(ctx context.Context, c *jsonrpc2.Conn, r *jsonrpc2.Request) {
		_ = c.ReplyWithError(ctx, r.ID, &jsonrpc2.Error{Code: jsonrpc2.CodeMethodNotFound, Message: r.Method})
	})
	server := newConn(t.Context(), far, jsonrpc2.AsyncHandler(older), nil)
	client := NewClient(t.Context(), near, nil, nil)
	defer func() { _, _ = client.Close(), server.Close() }()
	_, err := client.Sessions(t.Context())
	_, askErr := client.Ask(t.Context(), wire.AskParams{})
	for name, err := range map[string]error{
		"ask": askErr, "answer": client.Answer(t.Context(), wire.AnswerParams{}),
		"paused": client.Paused(t.Context(), wire.PausedParams{}), "patience": client.Patience(t.Context(), wire.PatienceParams{}), "leave": client.Leave(t.Context(), wire.LeaveParams{}), "sessions": err,
	} {
		var refusal *wire.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != wire.ReasonUnsupported || refusal.Errno != syscall.ENOTSUP || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusalKeepsItsErrnoAndReason(t *testing.T) {
	want := &wire.Refusal{Errno: syscall.EADDRINUSE, Reason: wire.ReasonTaken, Text: "stolen by alice"}
	client, _ := conversation(t, agent{
		subscribe: func(context.Context, wire.SubscribeParams) (wire.Subscription, error) {
			return wire.Subscription{}, errors.Join(errors.New("subscribe"), want)
		},
		unsubscribe: func(context.Context, wire.UnsubscribeParams) error { return errors.New("no such subscription") },
	}, nil)
	_, err := client.Subscribe(t.Context(), wire.SubscribeParams{})
	var refusal *wire.Refusal
	if !errors.As(err, &refusal) || *refusal != *want || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want %v", err, want)
	}
	err = client.Unsubscribe(t.Context(), wire.UnsubscribeParams{})
	if errors.As(err, &refusal) || err == nil || !strings.Contains(err.Error(), "no such subscription") {
		t.Errorf("another error: %v, want its words and no refusal", err)
	}
}

func TestSlowCallDoesNotHoldUpOthers(t *testing.T) {
	begun := make(chan struct{})
	client, _ := conversation(t, agent{
		subscribe: func(ctx context.Context, _ wire.SubscribeParams) (wire.Subscription, error) {
			close(begun)
			<-ctx.Done()
			return wire.Subscription{}, ctx.Err()
		},
		unsubscribe: func(context.Context, wire.UnsubscribeParams) error { return nil },
	}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	slow := make(chan error, 1)
	go func() {
		_, err := client.Subscribe(ctx, wire.SubscribeParams{})
		slow <- err
	}()
	<-begun
	if err := client.Unsubscribe(t.Context(), wire.UnsubscribeParams{}); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-slow; !errors.Is(err, context.Canceled) {
		t.Errorf("canceled call: %v", err)
	}
}

func TestNoticesArriveInOrder(t *testing.T) {
	var h heard
	_, server := conversation(t, agent{}, &h)
	var want []wire.LostParams
	for i := range uint64(100) {
		p := wire.LostParams{ID: i, Packets: 2 * i, Connections: 3}
		want = append(want, p)
		if err := server.Lost(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	unread := wire.UnreadParams{ID: 2, Connections: map[wire.Unread]uint64{wire.UnreadTLS: 3, wire.UnreadOld: 1}}
	if err := server.Unread(t.Context(), unread); err != nil {
		t.Fatal(err)
	}
	ended := wire.EndedParams{ID: 3, Refusal: wire.Refusal{Errno: syscall.ENETDOWN, Text: "target ended"}}
	if err := server.Ended(t.Context(), ended); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "notices heard", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.ended) == 1
	})
	if diff := cmp.Diff(want, h.lost); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]wire.UnreadParams{unread}, h.unread); diff != "" {
		t.Error(diff)
	}
	if h.ended[0] != ended {
		t.Errorf("ended %+v, want %+v", h.ended[0], ended)
	}
}

func TestConversationEndsWithItsStream(t *testing.T) {
	begun := make(chan struct{})
	near, far := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	server := NewServer(ctx, far, agent{
		describe: func(ctx context.Context, _ wire.DescribeParams) (wire.Description, error) {
			close(begun)
			<-ctx.Done()
			return wire.Description{}, ctx.Err()
		},
	}, nil)
	client := NewClient(t.Context(), near, nil, nil)
	call := make(chan error, 1)
	go func() {
		_, err := client.Describe(t.Context(), wire.DescribeParams{})
		call <- err
	}()
	<-begun
	_ = far.Close()
	<-server.Done()
	if err := <-call; !errors.Is(err, jsonrpc2.ErrClosed) {
		t.Errorf("call: %v, want %v", err, jsonrpc2.ErrClosed)
	}
	// The handler's context is the conversation's owner's.
	cancel()
	_ = client.Close()
	_ = server.Close()
}

// raw sends one message to a server and returns its answer.
func raw(t *testing.T, a Agent, message string) (answer map[string]any, err error) {
	t.Helper()
	near, far := net.Pipe()
	server := NewServer(t.Context(), far, a, nil)
	defer func() { _, _ = server.Close(), near.Close() }()
	go func() { _, _ = near.Write(framed(message)) }()
	err = codec{}.ReadObject(bufio.NewReader(near), &answer)
	return answer, err
}

func framed(message string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)
}

func TestServerAnswersBadCallsWithErrors(t *testing.T) {
	for message, code := range map[string]int64{
		`{"jsonrpc":"2.0","id":1,"method":"launch"}`:                          jsonrpc2.CodeMethodNotFound,
		`{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"port":-1}}`:  jsonrpc2.CodeInvalidParams,
		`{"jsonrpc":"2.0","id":1,"method":"subscribe","params":["port", 80]}`: jsonrpc2.CodeInvalidParams,
	} {
		answer, err := raw(t, agent{}, message)
		if err != nil {
			t.Errorf("%s: %v", message, err)
			continue
		}
		if fault, _ := answer["error"].(map[string]any); fault["code"] != float64(code) {
			t.Errorf("%s: %v, want code %d", message, answer, code)
		}
	}
}

func TestServerHangsUpOnWhatIsNoMessage(t *testing.T) {
	for _, message := range []string{"hello", "{} {}", `{"id":`} {
		if answer, err := raw(t, agent{}, message); err == nil {
			t.Errorf("%q was answered by %v", message, answer)
		}
	}
}

func TestCodecRefusesLongMessages(t *testing.T) {
	long := strings.Repeat("x", wire.MaxControl)
	if err := (codec{}).WriteObject(io.Discard, long); !errors.Is(err, wire.ErrFrame) {
		t.Errorf("written: %v, want %v", err, wire.ErrFrame)
	}
	in := bufio.NewReader(bytes.NewReader(binary.BigEndian.AppendUint32(nil, wire.MaxControl+1)))
	if err := (codec{}).ReadObject(in, new(any)); !errors.Is(err, wire.ErrFrame) {
		t.Errorf("read: %v, want %v", err, wire.ErrFrame)
	}
}

func FuzzCodec(f *testing.F) {
	f.Add(framed(`{"jsonrpc":"2.0","id":1,"method":"describe"}`))
	f.Add(append(framed(`{}`), framed(`[1,2]`)...))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bufio.NewReader(bytes.NewReader(data))
		for range 10 {
			var v any
			if err := (codec{}).ReadObject(in, &v); err != nil {
				return
			}
			var buf bytes.Buffer
			if err := (codec{}).WriteObject(&buf, v); err != nil {
				t.Fatal(err)
			}
			var again any
			if err := (codec{}).ReadObject(bufio.NewReader(&buf), &again); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(v, again); diff != "" {
				t.Error(diff)
			}
			if _, err := json.Marshal(v); err != nil {
				t.Error(err)
			}
		}
	})
}
