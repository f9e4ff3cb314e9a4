//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"podstep.dev/test/bench/table"
)

// The aims are ratios to the raw link.
const (
	aimKept = "1.3x of the raw link at p50"
	aimNew  = "1.5x of the raw link at p50"
	aimBulk = "0.8x of the raw link"
)

// links measures the raw link, podstep's, and requests that are stolen over another one of podstep's.
func (b *bench) links(ctx context.Context) (err error) {
	s, err := b.steal(ctx, "ephemeral", 30)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	o, err := b.join(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	if err := b.latencies(ctx, o); err != nil {
		return err
	}
	return b.throughputs(ctx, o)
}

// latencies measures all kinds of round trips in turn.
func (b *bench) latencies(ctx context.Context, o *ours) error {
	bare := b.openRaw(ctx, "/part", "copy")
	defer bare.Close()
	stream, err := o.dial(ctx, echoPort)
	if err != nil {
		return err
	}
	defer stream.Close()
	var raw, ours []time.Duration
	requests := map[string]*[2][]time.Duration{"kept": {}, "new": {}}
	for range b.chunks {
		for conn, took := range map[io.ReadWriter]*[]time.Duration{bare: &raw, stream: &ours} {
			if err := pingPong(conn, b.rounds, took); err != nil {
				return err
			}
		}
		for keep, both := range requests {
			took, err := b.measured(ctx, "ask", fmt.Sprint(b.rounds), keep, "-", "-", b.at(directPort), b.at(stolenPort))
			if err != nil {
				return err
			}
			both[0], both[1] = append(both[0], took[0]...), append(both[1], took[1]...)
		}
	}
	table.Latencies("link: 64 bytes there and back; native: the raw link", raw, ours, "")
	for _, r := range []struct{ keep, what, aim string }{{"kept", "request on a kept connection", aimKept}, {"new", "request on a new connection", aimNew}} {
		both := requests[r.keep]
		table.Latencies(r.what, both[0], both[1], "")
		table.Median(r.what+", stolen; native: the raw link", raw, both[1], r.aim)
	}
	return nil
}

// pingPong times 64 bytes there and back.
func pingPong(conn io.ReadWriter, rounds int, took *[]time.Duration) error {
	message := make([]byte, 64)
	for i := range rounds + rounds/10 {
		began := time.Now()
		if _, err := conn.Write(message); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, message); err != nil {
			return err
		}
		if i >= rounds/10 {
			*took = append(*took, time.Since(began))
		}
	}
	return nil
}

// throughputs measures bulks in turn, to the pod and from it.
func (b *bench) throughputs(ctx context.Context, o *ours) error {
	size := fmt.Sprint(b.size)
	var raw, ours, native, stolen [2][]time.Duration
	for range b.bulks {
		for way := range 2 {
			took, err := b.rawBulk(ctx, way)
			if err != nil {
				return err
			}
			raw[way] = append(raw[way], took)
			if took, err = b.ourBulk(ctx, o, way); err != nil {
				return err
			}
			ours[way] = append(ours[way], took)
			words := []string{"ask", "1", "kept", "-", size}
			if way == fromPod {
				words = []string{"send", "1", size}
			}
			both, err := b.measured(ctx, append(words, b.at(directPort), b.at(stolenPort))...)
			if err != nil {
				return err
			}
			native[way], stolen[way] = append(native[way], both[0]...), append(stolen[way], both[1]...)
		}
	}
	rate := func(took []time.Duration) float64 { return float64(b.size) / 1e6 / table.Quantile(took, 50).Seconds() }
	for way, words := range [][2]string{toPod: {"to the pod", "one large body that the debuggee sends"}, fromPod: {"from the pod", "one large body for the debuggee"}} {
		table.Rates("link: one stream "+words[0]+"; native: the raw link", rate(raw[way]), rate(ours[way]), aimBulk)
		table.Rates(words[1], rate(native[way]), rate(stolen[way]), "")
		table.Rates(words[1]+"; native: the raw link", rate(raw[way]), rate(stolen[way]), aimBulk)
	}
	return nil
}

// The two ways of a bulk.
const (
	toPod = iota
	fromPod
)

// rawBulk times one bulk over the raw link, and with it the acknowledgement of its last byte, or the asking for it.
func (b *bench) rawBulk(ctx context.Context, way int) (time.Duration, error) {
	conn := b.openRaw(ctx, "/part", []string{toPod: "take", fromPod: "give"}[way], fmt.Sprint(b.size))
	defer conn.Close()
	// The program has been started when this comes through; take counts it.
	time.Sleep(settling)
	began := time.Now()
	if way == toPod {
		if err := pour(conn, b.size); err != nil {
			return 0, err
		}
		_, err := io.ReadFull(conn, make([]byte, 1))
		return time.Since(began), err
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		return 0, err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{io.LimitReader(conn, b.size)}, make([]byte, block))
	if err == nil && n < b.size {
		err = io.ErrUnexpectedEOF
	}
	return time.Since(began), err
}

// ourBulk times a body in a request over one stream of podstep's link to the target's service.
func (b *bench) ourBulk(ctx context.Context, o *ours, way int) (time.Duration, error) {
	conn, err := o.dial(ctx, directPort)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	began := time.Now()
	if way == toPod {
		if _, err := fmt.Fprintf(conn, "POST /- HTTP/1.1\r\nHost: target\r\nContent-Length: %d\r\n\r\n", b.size); err != nil {
			return 0, err
		}
		if err := pour(conn, b.size); err != nil {
			return 0, err
		}
	} else if _, err := fmt.Fprintf(conn, "GET /%d HTTP/1.1\r\nHost: target\r\n\r\n", b.size); err != nil {
		return 0, err
	}
	answer, err := http.ReadResponse(bufio.NewReaderSize(conn, block), nil)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{answer.Body}, make([]byte, block))
	return time.Since(began), err
}

// block is how much is read and written at once, in bytes.
const block = 256 << 10

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
