package tunnel

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

// rejection is the body of a 503.
const rejection = "podstep: the developer whose program serves this request is stopped at a breakpoint. Try again in a moment.\n"

// reject answers 503 in the debuggee's stead: the debugger is stopped.
func (x *exchange) reject(ctx context.Context, stream *mux.Stream) error {
	x.tunnel.rejected.Add(1)
	x.tunnel.logOf(x.header).Debug("rejected a request")
	x.rec.Went(WentNobody, errReject.Error())
	return x.say(ctx, stream, x.reply(503, "Retry-After: 1\r\n", "text/plain; charset=utf-8", rejection))
}

// answerFor answers in the debuggee's stead, as a rule or a person wants.
func (x *exchange) answerFor(ctx context.Context, stream *mux.Stream, r Reply, why string) error {
	x.tunnel.failed.Add(1)
	x.tunnel.logOf(x.header).Debug("failed a request")
	x.rec.Went(WentNobody, why)
	return x.say(ctx, stream, x.reply(r.Status, "", r.kind(), r.text()))
}

// say sends a whole response of podstep's own. The request is read to its end, so that its client's connection stays in step.
func (x *exchange) say(ctx context.Context, stream *mux.Stream, response []byte) error {
	defer context.AfterFunc(ctx, stream.Reset)()
	f := front{x}
	err := stream.Opened(wire.Answer{})
	if err == nil {
		_, err = f.Write(response)
	}
	if err == nil {
		err = f.CloseWrite()
	}
	if err == nil {
		_, err = io.Copy(io.Discard, f)
	}
	_ = stream.Close()
	if err != nil {
		return fmt.Errorf("answer for the debuggee: %w", err)
	}
	return nil
}

// reply is a response; fields are whole lines. After it a client that waits for 100 (Continue) may send its body or not: nobody could tell
// what its next bytes are.
func (x *exchange) reply(status int, fields, kind, body string) []byte {
	if x.request.Close || x.request.Expect {
		fields += "Connection: close\r\n"
	}
	length := len(body)
	if x.request.Method == http.MethodHead {
		body = ""
	}
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n%sCache-Control: no-store\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		status, http.StatusText(status), fields, kind, length, body)
}

// text is the body, with a line end where it is podstep's own.
func (r Reply) text() string {
	if r.Body != "" {
		return r.Body
	}
	return "podstep: the developer whose program serves this request lets it fail.\n"
}

// kind is the body's media type.
func (r Reply) kind() string {
	if strings.HasPrefix(strings.TrimLeft(r.Body, " \t\r\n"), "{") && json.Valid([]byte(r.Body)) {
		return "application/json"
	}
	return "text/plain; charset=utf-8"
}
