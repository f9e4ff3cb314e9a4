// Command grpc is a gRPC server, and a client that holds it against what gRPC promises. It is a module of its own, so that podstep's
// programs do not depend on gRPC.
//
//	grpc serve WHO PORT
//	grpc call ADDRESS NAME=VALUE WHO
//	grpc seat ADDRESS GUEST GUEST GUEST
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func main() {
	switch args := os.Args[1:]; {
	case len(args) == 3 && args[0] == "serve":
		fail(serve(args[1], args[2]))
	case len(args) == 4 && args[0] == "call":
		name, value, _ := strings.Cut(args[2], "=")
		fail(call(args[1], metadata.Pairs(name, value), args[3]))
	case len(args) == 2+seats && args[0] == "seat":
		fail(seat(args[1], args[2:]))
	default:
		fail(errors.New("grpc serve WHO PORT | grpc call ADDRESS NAME=VALUE WHO | grpc seat ADDRESS GUEST GUEST GUEST"))
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "grpc:", err)
		os.Exit(1)
	}
}

type text = wrapperspb.StringValue

// seats is how many guests wait for each other.
const seats = 3

// server answers with who it is.
type server struct {
	who string
	// empty are the seats that nobody has taken.
	empty sync.WaitGroup
	// cancelled counts calls that clients gave up.
	cancelled atomic.Int64
}

func serve(who, port string) error {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	s := &server{who: who}
	s.empty.Add(seats)
	g := grpc.NewServer(grpc.MaxConcurrentStreams(8), grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))
	g.RegisterService(&grpc.ServiceDesc{
		ServiceName: "podstep.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: s.unary}},
		Streams: []grpc.StreamDesc{{StreamName: "Stream", Handler: s.stream, ServerStreams: true, ClientStreams: true}},
	}, s)
	fmt.Println("the table is set")
	return g.Serve(l)
}

func (s *server) unary(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	in := &text{}
	if err := decode(in); err != nil {
		return nil, err
	}
	if guest, seated := strings.CutPrefix(in.Value, "seat "); seated {
		s.empty.Done()
		s.empty.Wait()
		return &text{Value: s.who + " " + guest}, nil // <- all are there
	}
	md, _ := metadata.FromIncomingContext(ctx)
	_ = grpc.SetHeader(ctx, metadata.Pairs("who", s.who, "saw-bin", strings.Join(md.Get("some-bin"), "")))
	_ = grpc.SetTrailer(ctx, metadata.Pairs("last", "word"))
	switch in.Value {
	case "detail":
		st, err := status.New(codes.FailedPrecondition, "50% of \u00fcber").WithDetails(&text{Value: s.who})
		if err != nil {
			return nil, err
		}
		return nil, st.Err()
	case "wait":
		<-ctx.Done()
		s.cancelled.Add(1)
		return nil, status.FromContextError(ctx.Err()).Err()
	case "cancelled":
		return &text{Value: fmt.Sprint(s.cancelled.Load())}, nil
	}
	return &text{Value: s.who + " " + in.Value}, nil
}

// stream answers each message, after "all:" only with their number at the end; "send N" with N of 64 KiB.
func (s *server) stream(_ any, stream grpc.ServerStream) error {
	_ = stream.SendHeader(metadata.Pairs("who", s.who))
	for n := 0; ; n++ {
		in := &text{}
		if err := stream.RecvMsg(in); errors.Is(err, io.EOF) {
			stream.SetTrailer(metadata.Pairs("count", fmt.Sprint(n)))
			return nil
		} else if err != nil {
			s.cancelled.Add(1)
			return err
		}
		var many int
		if _, err := fmt.Sscanf(in.Value, "send %d", &many); err == nil {
			for range many {
				if err := stream.SendMsg(&text{Value: strings.Repeat("x", 64<<10)}); err != nil {
					return err
				}
			}
			continue
		}
		if strings.HasPrefix(in.Value, "quiet") {
			continue
		}
		if err := stream.SendMsg(&text{Value: s.who + " " + in.Value}); err != nil {
			return err
		}
	}
}

// client makes calls with metadata that says whose they are.
type client struct {
	*grpc.ClientConn
	md  metadata.MD
	who string
}

// seat makes a call for each guest, all at once on one connection.
func seat(address string, guests []string) error {
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	c := &client{ClientConn: conn}
	var all sync.WaitGroup
	for _, guest := range guests {
		all.Go(func() {
			ctx := metadata.NewOutgoingContext(context.Background(), metadata.Pairs("x-request-id", guest))
			got, err := c.ask(ctx, "seat "+guest)
			fmt.Println(got, err)
		})
	}
	all.Wait()
	return nil
}

// call runs all cases: half of them at once with those of the other party on the same connection.
func call(address string, md metadata.MD, who string) error {
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 2 * time.Second}))
	if err != nil {
		return err
	}
	defer conn.Close()
	mine, others := &client{conn, md, who}, &client{conn, nil, "target"}
	var all sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for i := range 40 {
		for name, f := range map[string]func(*client, context.Context) error{
			"unary": (*client).unary, "detail": (*client).detail, "deadline": (*client).deadline, "cancel": (*client).cancel,
			"client stream": (*client).clientStream, "server stream": (*client).serverStream, "chat": (*client).chat,
		} {
			c := []*client{mine, others}[i%2]
			all.Go(func() {
				ctx, stop := context.WithTimeout(metadata.NewOutgoingContext(context.Background(), c.md), 30*time.Second)
				defer stop()
				if err := f(c, ctx); err != nil {
					mu.Lock()
					failed = errors.Join(failed, fmt.Errorf("%s of %s: %w", name, c.who, err))
					mu.Unlock()
				}
			})
		}
	}
	all.Wait()
	if failed != nil {
		return failed
	}
	for _, c := range []*client{mine, others} {
		if err := c.wereCancelled(); err != nil {
			return err
		}
	}
	fmt.Println("ok")
	return nil
}

func want[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s is %v, want %v", what, got, want)
	}
	return nil
}

func (c *client) ask(ctx context.Context, s string, opts ...grpc.CallOption) (string, error) {
	out := &text{}
	err := c.Invoke(ctx, "/podstep.Echo/Unary", &text{Value: s}, out, opts...)
	return out.Value, err
}

func (c *client) unary(ctx context.Context) error {
	var header, trailer metadata.MD
	ctx = metadata.AppendToOutgoingContext(ctx, "some-bin", "\x00\xff")
	long := strings.Repeat("y", 300<<10)
	got, err := c.ask(ctx, long, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil {
		return err
	}
	return errors.Join(want("answer", got == c.who+" "+long, true), want("who", fmt.Sprint(header.Get("who")), "["+c.who+"]"),
		want("binary", fmt.Sprint(header.Get("saw-bin")), "[\x00\xff]"), want("trailer", fmt.Sprint(trailer.Get("last")), "[word]"))
}

func (c *client) detail(ctx context.Context) error {
	_, err := c.ask(ctx, "detail")
	st := status.Convert(err)
	if len(st.Details()) != 1 {
		return fmt.Errorf("no details: %w", err)
	}
	d, _ := st.Details()[0].(*text)
	return errors.Join(want("code", st.Code(), codes.FailedPrecondition), want("message", st.Message(), "50% of \u00fcber"), want("detail", d.GetValue(), c.who))
}

func (c *client) deadline(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	_, err := c.ask(ctx, "wait")
	return want("code", status.Code(err), codes.DeadlineExceeded)
}

func (c *client) open(ctx context.Context) (grpc.ClientStream, error) {
	return c.NewStream(ctx, &grpc.StreamDesc{StreamName: "Stream", ServerStreams: true, ClientStreams: true}, "/podstep.Echo/Stream")
}

func (c *client) cancel(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	in := &text{}
	if err := errors.Join(s.SendMsg(&text{Value: "one"}), s.RecvMsg(in)); err != nil {
		return err
	}
	stop()
	return want("code", status.Code(s.RecvMsg(in)), codes.Canceled)
}

func (c *client) clientStream(ctx context.Context) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	for range 20 {
		if err := s.SendMsg(&text{Value: "quiet" + strings.Repeat("z", 32<<10)}); err != nil {
			return err
		}
	}
	_ = s.CloseSend()
	if err := s.RecvMsg(&text{}); !errors.Is(err, io.EOF) {
		return fmt.Errorf("want the end: %w", err)
	}
	return want("count", fmt.Sprint(s.Trailer().Get("count")), "[20]")
}

func (c *client) serverStream(ctx context.Context) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(s.SendMsg(&text{Value: "send 20"}), s.CloseSend()); err != nil {
		return err
	}
	for n := 0; ; n++ {
		in := &text{}
		if err := s.RecvMsg(in); errors.Is(err, io.EOF) {
			header, _ := s.Header()
			return errors.Join(want("messages", n, 20), want("who", fmt.Sprint(header.Get("who")), "["+c.who+"]"))
		} else if err != nil {
			return err
		}
	}
}

func (c *client) chat(ctx context.Context) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	for i := range 20 {
		in := &text{}
		if err := errors.Join(s.SendMsg(&text{Value: fmt.Sprint(i)}), s.RecvMsg(in)); err != nil {
			return err
		}
		if err := want("answer", in.Value, fmt.Sprint(c.who, " ", i)); err != nil {
			return err
		}
	}
	return s.CloseSend()
}

// wereCancelled waits until the server has heard of the 20 calls that were given up by hand. Of those with a deadline, some never leave: the
// server allows few at once.
func (c *client) wereCancelled() error {
	ctx, stop := context.WithTimeout(metadata.NewOutgoingContext(context.Background(), c.md), 10*time.Second)
	defer stop()
	for {
		n, err := c.ask(ctx, "cancelled")
		if many, _ := strconv.Atoi(n); err != nil || many >= 20 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s heard of %s calls that were given up, want 20", c.who, n)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
