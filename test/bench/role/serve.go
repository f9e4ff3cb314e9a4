//go:build linux

package role

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// block is how much is read and written at once where throughput counts, in bytes.
const block = 256 << 10

// Certificates is the variable with the directory of tls.crt and tls.key, for ports with an s before them.
const Certificates = "PODSTEP_BENCH_CERTIFICATES"

// serve serves until it is ended. Ports with an s before them speak TLS; P>N passes all that comes at P on to N.
func serve(ports []string) error {
	small := bytes.Repeat([]byte("x"), 64)
	if os.Getenv(Debuggee) != "" {
		small[0] = 'd' // see await
	}
	var count atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/count" {
			_, _ = fmt.Fprint(w, count.Load())
			return
		}
		count.Add(1)
		_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, make([]byte, block))
		n, err := strconv.ParseInt(r.URL.Path[1:], 10, 64)
		if err != nil {
			_, _ = w.Write(small)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		_ = pour(w, n)
	})
	server := &http.Server{Handler: handler, Protocols: &http.Protocols{}}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	errs := make(chan error)
	for _, port := range ports {
		port, secure := strings.CutPrefix(port, "s")
		port, next, passes := strings.Cut(port, ">")
		l, err := net.Listen("tcp4", ":"+port)
		if err != nil {
			return err
		}
		dir := os.Getenv(Certificates)
		go func() {
			switch {
			case passes:
				errs <- hop(l, next)
			case secure:
				errs <- http.ServeTLS(l, handler, dir+"/tls.crt", dir+"/tls.key")
			default:
				errs <- server.Serve(l)
			}
		}()
	}
	return <-errs
}

// pour writes n bytes.
func pour(w io.Writer, n int64) error {
	chunk := make([]byte, block)
	for n > 0 {
		k, err := w.Write(chunk[:min(n, block)])
		if err != nil {
			return err
		}
		n -= int64(k)
	}
	return nil
}

// echo sends every connection's bytes back until it is ended.
func echo(args []string) error {
	l, err := net.Listen("tcp4", ":"+args[0])
	if err != nil {
		return err
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_ = reply(conn, conn)
		}()
	}
}

// copyBack is echo with standard input and output.
func copyBack([]string) error { return reply(os.Stdin, os.Stdout) }

func reply(r io.Reader, w io.Writer) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 4<<10))
	return err
}

// take takes bytes from standard input and acknowledges the last.
func take(args []string) error {
	n, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{io.LimitReader(os.Stdin, n)}, make([]byte, block)); err != nil {
		return err
	}
	_, err = os.Stdout.Write([]byte{1})
	return err
}

// give sends bytes to standard output when it is asked to.
func give(args []string) error {
	n, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(os.Stdin, make([]byte, 1)); err != nil {
		return err
	}
	return pour(os.Stdout, n)
}
