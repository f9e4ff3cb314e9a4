package outgoing

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/miekg/dns"
	"go.uber.org/zap"

	"podstep.dev/internal/splice"
	"podstep.dev/internal/wire"
)

// DNS answers the questions that come over stream, each message behind two bytes of length, as they would be answered
// inside the target; answers may overtake each other. It returns when the stream is over or ctx ends. An answer may be
// larger than what the asker takes by UDP: whoever speaks UDP to it truncates.
func (o *Outgoing) DNS(ctx context.Context, stream Stream) {
	if err := stream.Opened(wire.Answer{}); err != nil {
		splice.Reset(stream)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, stream.Reset)()
	c := conversation{Outgoing: o, stream: stream}
	err := c.serve(ctx)
	if !errors.Is(err, io.EOF) {
		o.log.Debug("dns stream", zap.Error(err))
		stream.Reset()
		cancel()
		c.answering.Wait()
		return
	}
	// The asker sends no more, but waits for what it asked.
	c.answering.Wait()
	_ = stream.CloseWrite()
	_ = stream.Close()
}

type conversation struct {
	*Outgoing
	stream    Stream
	answering sync.WaitGroup

	mu sync.Mutex // one answer is written at a time
}

// serve reads questions until the stream ends, which is io.EOF.
func (c *conversation) serve(ctx context.Context) error {
	for {
		message, err := readMessage(c.stream)
		if err != nil {
			return err
		}
		select {
		case c.questions <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		c.answering.Go(func() {
			defer func() { <-c.questions }()
			if answer := c.answer(ctx, message); answer != nil {
				c.write(answer)
			}
		})
	}
}

// answer is the packed answer to a packed question, nil when there is nothing to answer.
func (c *conversation) answer(ctx context.Context, message []byte) []byte {
	var question dns.Msg
	if err := question.Unpack(message); err != nil || len(question.Question) == 0 {
		return malformed(message)
	}
	if question.Response {
		return nil
	}
	answer := c.resolver.resolve(ctx, &question)
	answer.Compress = true
	packed, err := answer.Pack()
	if err != nil || len(packed) > wire.MaxDatagram {
		c.log.Warn("dns answer does not pack", zap.Int("bytes", len(packed)), zap.Error(err))
		packed, _ = new(dns.Msg).SetRcode(&question, dns.RcodeServerFailure).Pack()
	}
	return packed
}

func (c *conversation) write(answer []byte) {
	framed := append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(answer)), uint16(len(answer))), answer...)
	c.mu.Lock()
	defer c.mu.Unlock()
	// An asker that is gone shows at the next read.
	_, _ = c.stream.Write(framed)
}

// malformed answers what has at least a header with FORMERR.
func malformed(message []byte) []byte {
	const header = 12 // RFC 1035 §4.1.1
	if len(message) < header || message[2]&0x80 != 0 {
		return nil
	}
	answer := new(dns.Msg)
	answer.Id = binary.BigEndian.Uint16(message)
	answer.Response, answer.Rcode = true, dns.RcodeFormatError
	packed, _ := answer.Pack()
	return packed
}

func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(r, message); err != nil {
		return nil, fmt.Errorf("read message: %w", noEOF(err))
	}
	return message, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
