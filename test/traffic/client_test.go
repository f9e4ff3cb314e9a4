//go:build linux

package traffic

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// patience is for what must come.
const patience = 5 * time.Second

// kind is a request as a client makes it.
type kind struct {
	name string
	// repeatable : two servers may have it; optIn : if the user says so.
	repeatable, optIn bool
	// isPlain : no request can be told apart, so that policies for requests do not apply.
	isPlain bool
	isHTTP2 bool
	isGRPC  bool
	// ask makes it and says what the client saw.
	ask func(s *stage, id string) string
}

func kinds() []kind {
	var all []kind
	for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
		two := version == "HTTP/2"
		all = append(all,
			kind{name: version + " GET", isHTTP2: two, repeatable: true, ask: ask(version, "GET", "")},
			kind{name: version + " POST", isHTTP2: two, ask: ask(version, "POST", "body")},
			kind{name: version + " PUT", isHTTP2: two, optIn: true, ask: ask(version, "PUT", "body")},
			kind{name: version + " POST, Idempotency-Key", isHTTP2: two, optIn: true, ask: ask(version, "POST", "body", "Idempotency-Key", "1")},
		)
	}
	return append(all,
		kind{name: "gRPC", isHTTP2: true, isGRPC: true, ask: ask("HTTP/2", "POST", "\x00\x00\x00\x00\x00", "Content-Type", "application/grpc", "Te", "trailers")},
		kind{name: "WebSocket", repeatable: true, ask: askUpgrade},
		kind{name: "plain bytes", isPlain: true, ask: askPlain},
	)
}

// ask makes a request on a connection of its own.
func ask(version, method, body string, fields ...string) func(*stage, string) string {
	return func(s *stage, id string) string {
		var protocols http.Protocols
		protocols.SetHTTP1(version == "HTTP/1.1")
		protocols.SetUnencryptedHTTP2(version == "HTTP/2")
		transport := &http.Transport{Protocols: &protocols}
		defer transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, method, "http://"+s.http+"/", bytes.NewReader([]byte(body)))
		if err != nil {
			return err.Error()
		}
		r.GetBody = nil // nobody but podstep is to try again
		r.Header.Set("X-Id", id)
		for i := 0; i < len(fields); i += 2 {
			r.Header.Set(fields[i], fields[i+1])
		}
		res, err := transport.RoundTrip(r)
		if err != nil {
			return "nothing: " + err.Error()
		}
		defer func() { _ = res.Body.Close() }()
		text, err := io.ReadAll(res.Body)
		return seen(res, string(text), err)
	}
}

// seen says what a response tells: which party, or which status of podstep.
func seen(res *http.Response, text string, err error) string {
	who := res.Header.Get("X-Party")
	status := res.Header.Get("Grpc-Status") + res.Trailer.Get("Grpc-Status")
	switch {
	case who == "" && status != "":
		return fmt.Sprintf("gRPC %s", status)
	case who == "" && res.StatusCode == 503 && res.Header.Get("Retry-After") == "":
		return "503 without Retry-After"
	case who == "" && !strings.Contains(text, "podstep"):
		return fmt.Sprintf("%d %q", res.StatusCode, text)
	case who == "":
		return fmt.Sprint(res.StatusCode)
	case err != nil && text == "hello ":
		return "half of " + who
	case err != nil || text != "hello world" || res.Header.Get("Content-Type") == "application/grpc" && status != "0":
		return fmt.Sprintf("%s: %q %q %v", who, text, status, err)
	}
	return who
}

func dial(addr string) (net.Conn, *bufio.Reader, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, nil, err
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	return c, bufio.NewReader(c), nil
}

// askUpgrade goes on in another protocol behind a GET.
func askUpgrade(s *stage, id string) string {
	c, in, err := dial(s.http)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = c.Close() }()
	_, _ = fmt.Fprintf(c, "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: lines\r\nX-Id: %s\r\n\r\n", id)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return "nothing: " + err.Error()
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		text, err := io.ReadAll(res.Body)
		return seen(res, string(text), err)
	}
	return askLine(c, in, res.Header.Get("X-Party"))
}

// askPlain speaks no HTTP.
func askPlain(s *stage, id string) string {
	c, in, err := dial(s.plain)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(2 * stoppedFor))
	_, _ = io.WriteString(c, id+"\n")
	who, err := in.ReadString('\n')
	if err != nil {
		return "nothing: " + err.Error()
	}
	return askLine(c, in, strings.TrimSpace(who))
}

func askLine(c net.Conn, in *bufio.Reader, who string) string {
	_, _ = io.WriteString(c, "line\n")
	text, err := in.ReadString('\n')
	switch {
	case err != nil && text == "hello ":
		return "half of " + who
	case err != nil || text != "hello world\n":
		return fmt.Sprintf("%s: %q %v", who, text, err)
	}
	return who
}
