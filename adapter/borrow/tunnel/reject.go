package tunnel

import (
	"context"
	"fmt"
	"io"

	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

// rejection is the body of a 503.
const rejection = "podstep: the developer whose program serves this request is stopped at a breakpoint. Try again in a moment.\n"

// reject answers 503 in the debuggee's stead. The request is read to its end, so that its client's connection stays in step.
func (x *exchange) reject(ctx context.Context, stream *mux.Stream) error {
	x.tunnel.rejected.Add(1)
	x.tunnel.logOf(x.header).Debug("rejected a request")
	x.rec.Went(WentNobody, errReject.Error())
	defer context.AfterFunc(ctx, stream.Reset)()
	f := front{x}
	err := stream.Opened(wire.Answer{})
	if err == nil {
		_, err = f.Write(x.rejection())
	}
	if err == nil {
		err = f.CloseWrite()
	}
	if err == nil {
		_, err = io.Copy(io.Discard, f)
	}
	_ = stream.Close()
	if err != nil {
		return fmt.Errorf("reject: %w", err)
	}
	return nil
}

// rejection is the response. After it a client that waits for 100 (Continue) may send its body or not: nobody could tell what
// its next bytes are.
func (x *exchange) rejection() []byte {
	connection, body := "", rejection
	if x.request.Close || x.request.Expect {
		connection = "Connection: close\r\n"
	}
	if x.request.Method == "HEAD" {
		body = ""
	}
	return fmt.Appendf(nil, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nCache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"Content-Length: %d\r\n%s\r\n%s", len(rejection), connection, body)
}
