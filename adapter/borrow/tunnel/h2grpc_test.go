package tunnel

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	interopgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"podstep.dev/internal/h2"
	"podstep.dev/internal/wire"
)

// standIn serves clients of HTTP/2 as an agent does: each request on a stream of its own.
func (a *agentEnd) standIn(w http.ResponseWriter, r *http.Request) {
	head := h2.Fields(":method", r.Method, ":scheme", "http", ":path", r.URL.RequestURI(), ":authority", r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			head = append(head, hpack.HeaderField{Name: strings.ToLower(name), Value: v})
		}
	}
	stream, err := a.openH2(1, head, nil, false)
	if err != nil {
		w.WriteHeader(http.StatusNotFound) // the target has no such thing
		return
	}
	defer func() { _ = stream.Close() }()
	sent := make(chan struct{})
	defer func() { _ = r.Body.Close(); <-sent }()
	go func() {
		defer close(sent)
		out, b := h2.NewWriter(stream), make([]byte, 32<<10)
		for {
			n, err := r.Body.Read(b)
			if n > 0 || err == io.EOF {
				_ = out.Data(b[:n], err == io.EOF)
			}
			switch {
			case err == io.EOF:
				_ = stream.CloseWrite()
				return
			case err != nil:
				_ = out.Reset(http2.ErrCodeCancel)
				stream.Reset()
				return
			}
		}
	}()
	stop := context.AfterFunc(r.Context(), stream.Reset)
	defer stop()
	var first wire.Outcome
	if err := wire.ReadFrame(stream, &first); err != nil || first.Failed != nil {
		panic(http.ErrAbortHandler)
	}
	begun := false
	for in := h2.NewReader(stream); ; {
		f, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			// net/http knows one code only. A client whose own deadline passed at the same moment is not to hear that one.
			select {
			case <-r.Context().Done():
			case <-time.After(time.Second):
			}
			panic(http.ErrAbortHandler)
		case f.Fields == nil:
			_, _ = w.Write(f.Data)
		default:
			prefix := ""
			if begun {
				prefix = http.TrailerPrefix
			}
			begun = true
			for _, field := range f.Fields {
				if !field.IsPseudo() {
					w.Header().Add(prefix+field.Name, field.Value)
				}
			}
			if prefix == "" {
				w.WriteHeader(http.StatusOK)
			}
		}
		if f.End { // the client hears of a trailer when the handler returns, and may end its own half only then
			return
		}
		_ = http.NewResponseController(w).Flush()
	}
}

// grpcPair is a client and a server of grpc-go with the tunnel between them. ended has how each stream's context at the server ended.
func grpcPair(t *testing.T, tn *Tunnel) (c interopgrpc.TestServiceClient, d *debuggee, ended chan error) {
	t.Helper()
	l := listen(t)
	ended = make(chan error, 16)
	server := grpc.NewServer(grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		err := handler(srv, ss)
		ended <- ss.Context().Err()
		return err
	}))
	interopgrpc.RegisterTestServiceServer(server, interop.NewTestServer())
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	d = &debuggee{addr: l.Addr().String()}
	a := connect(t, tn, d)
	front := servedH2(t, a.standIn)
	conn, err := grpc.NewClient(front.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return interopgrpc.NewTestServiceClient(conn), d, ended
}

func payload(n int) *interopgrpc.Payload { return &interopgrpc.Payload{Body: make([]byte, n)} }

func TestGRPCOfAllKinds(t *testing.T) {
	c, _, _ := grpcPair(t, &Tunnel{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := c.EmptyCall(ctx, &interopgrpc.Empty{}); err != nil {
		t.Error(err)
	}
	r, err := c.UnaryCall(ctx, &interopgrpc.SimpleRequest{ResponseSize: 314159, Payload: payload(271828)})
	if err != nil || len(r.GetPayload().GetBody()) != 314159 {
		t.Errorf("unary: %v", err)
	}
	up, err := c.StreamingInputCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{27182, 8, 1828, 45904} {
		if err := up.Send(&interopgrpc.StreamingInputCallRequest{Payload: payload(n)}); err != nil {
			t.Error(err)
		}
	}
	if sum, err := up.CloseAndRecv(); err != nil || sum.GetAggregatedPayloadSize() != 74922 {
		t.Errorf("client streaming: %v, %v", sum, err)
	}
	down, err := c.StreamingOutputCall(ctx, &interopgrpc.StreamingOutputCallRequest{ResponseParameters: []*interopgrpc.ResponseParameters{{Size: 31415}, {Size: 9}, {Size: 2653}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{31415, 9, 2653} {
		if m, err := down.Recv(); err != nil || len(m.GetPayload().GetBody()) != n {
			t.Errorf("server streaming: %v", err)
		}
	}
	if _, err := down.Recv(); err != io.EOF {
		t.Errorf("its end: %v", err)
	}
	both, err := c.FullDuplexCall(metadata.AppendToOutgoingContext(ctx, "x-grpc-test-echo-initial", "hello", "x-grpc-test-echo-trailing-bin", "\xab\xab"))
	if err != nil {
		t.Fatal(err)
	}
	for range 4 { // ping-pong
		if err := both.Send(&interopgrpc.StreamingOutputCallRequest{ResponseParameters: []*interopgrpc.ResponseParameters{{Size: 100}}, Payload: payload(10)}); err != nil {
			t.Error(err)
		}
		if m, err := both.Recv(); err != nil || len(m.GetPayload().GetBody()) != 100 {
			t.Errorf("both ways: %v", err)
		}
	}
	_ = both.CloseSend()
	if _, err := both.Recv(); err != io.EOF {
		t.Errorf("its end: %v", err)
	}
	header, err := both.Header()
	if got := header.Get("x-grpc-test-echo-initial"); err != nil || len(got) != 1 || got[0] != "hello" {
		t.Errorf("metadata: %v, %v", header, err)
	}
	if got := both.Trailer().Get("x-grpc-test-echo-trailing-bin"); len(got) != 1 || got[0] != "\xab\xab" {
		t.Errorf("trailing metadata: %v", both.Trailer())
	}
	const words = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
	_, err = c.UnaryCall(ctx, &interopgrpc.SimpleRequest{ResponseStatus: &interopgrpc.EchoStatus{Code: 9, Message: words}})
	if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != words {
		t.Errorf("status: %v", err)
	}
	if _, err = c.UnimplementedCall(ctx, &interopgrpc.Empty{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("unimplemented: %v", err)
	}
}

func TestGRPCIsGivenUp(t *testing.T) {
	c, _, ended := grpcPair(t, &Tunnel{})
	slow := &interopgrpc.StreamingOutputCallRequest{ResponseParameters: []*interopgrpc.ResponseParameters{{Size: 1}, {Size: 1, IntervalUs: 2_000_000_000}}}
	for name, code := range map[string]codes.Code{"cancelled": codes.Canceled, "deadline": codes.DeadlineExceeded} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if name == "deadline" {
			ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		}
		both, err := c.FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := both.Send(&interopgrpc.StreamingOutputCallRequest{ResponseParameters: slow.ResponseParameters[:1]}); err != nil {
			t.Error(err)
		}
		if _, err := both.Recv(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "cancelled" {
			cancel()
		}
		if _, err := both.Recv(); status.Code(err) != code {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		select {
		case err := <-ended:
			if err == nil {
				t.Errorf("%s: the server's stream ended by itself", name)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: the server was not told", name)
		}
	}
}

func TestGRPCIsRejectedByItsOwnStatus(t *testing.T) {
	tn := &Tunnel{Pause: Pause{Policy: wire.PauseReject}}
	c, _, _ := grpcPair(t, tn)
	tn.SetPaused(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := c.UnaryCall(ctx, &interopgrpc.SimpleRequest{Payload: payload(10)})
	if s := status.Convert(err); s.Code() != codes.Unavailable || s.Message() != strings.TrimSpace(rejection) {
		t.Errorf("unary: %v", err)
	}
	both, err := c.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := both.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("streaming: %v", err)
	}
	tn.SetPaused(false)
	if _, err := c.EmptyCall(ctx, &interopgrpc.Empty{}); err != nil {
		t.Error(err)
	}
}
