// Package exec runs a program in a container of a pod, over the API server alone, and hands out its standard input and
// output as one connection. It goes over WebSocket and, where that is not let through, over SPDY. It knows nothing of
// what the program is.
package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"

	"podstep.dev/internal/logging"
)

// Transports, as Dialer.Transport forces them.
const (
	WebSocket = "websocket"
	SPDY      = "spdy"
)

// Dialer runs programs in one cluster. The zero value of what is not said to be required works.
type Dialer struct {
	// Config reaches the API server. Required.
	Config *rest.Config
	// Client makes the URLs: it is of the core group. Required.
	Client rest.Interface
	// Log receives what the programs write to their standard error. If nil, nothing is logged.
	Log *zap.Logger
	// Transport is the only one to be used. If empty, WebSocket and then SPDY are tried.
	Transport string

	// blocked says that only SPDY came through.
	blocked atomic.Bool
}

// Call is a program to be run.
type Call struct {
	Namespace, Pod, Container string
	Command                   []string
}

// Conn is a running program: Write goes to its standard input, Read comes from its standard output. Read, Write and Close
// may be called at the same time, each by one goroutine. Close ends the program's standard input and output at once.
//
// When the program has ended Read returns io.EOF, or an *ExitError; when the connection broke before, an error that wraps
// ErrLost.
type Conn struct {
	pipe
	words *logging.Words
}

// pipe is a transport's connection.
type pipe interface {
	io.ReadWriteCloser
}

// Words are the last words of the program on its standard error.
func (c *Conn) Words() string { return c.words.Tail() }

// Dial runs call. ctx bounds only Dial. A refusal of the API server is wrapped as it is (apierrors.APIStatus). That the
// program could not be started is known only when Read says so.
func (d *Dialer) Dial(ctx context.Context, call Call) (*Conn, error) {
	log := d.Log
	if log == nil {
		log = zap.NewNop()
	}
	words := logging.NewWords(log)
	var first error
	if d.Transport != SPDY && !d.blocked.Load() {
		p, err := d.dialWebSocket(ctx, call, words)
		if err == nil {
			return &Conn{p, words}, nil
		}
		var refused *httpstream.UpgradeFailureError
		if first = err; errors.As(err, &refused) {
			first = refused.Cause
		}
		if d.Transport == WebSocket || refused == nil && !httpstream.IsHTTPSProxyError(err) {
			return nil, fmt.Errorf("exec over WebSocket: %w", first)
		}
	}
	p, err := d.dialSPDY(ctx, call, words)
	if err != nil {
		return nil, fmt.Errorf("exec: %w", errors.Join(err, first))
	}
	if first != nil {
		d.blocked.Store(true)
		log.Debug("WebSocket is not let through; SPDY is", zap.Error(first))
	}
	return &Conn{p, words}, nil
}

// url is where call is run.
func (d *Dialer) url(call Call) string {
	return d.Client.Get().Resource("pods").Namespace(call.Namespace).Name(call.Pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: call.Container, Command: call.Command, Stdin: true, Stdout: true, Stderr: true,
		}, scheme.ParameterCodec).URL().String()
}
