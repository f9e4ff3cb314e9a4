//go:build linux

package intercept

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"podstep.dev/internal/splice"
)

const (
	// answerTimeout bounds one question; resolvers ask again after 5 s (resolv.conf(5)) and give up after a few times.
	answerTimeout = 20 * time.Second
	// idleQuestions is for how long a connection to the pod's resolver is kept for the next question.
	idleQuestions = 10 * time.Second
	// plainUDP is the largest answer for a resolver that does not say more (RFC 1035 §4.2.1).
	plainUDP = 512
)

// questions asks the pod's resolver. Connections are used again, for one question at a time each, so that a slow name
// holds up no other.
type questions struct {
	link Link

	mu     sync.Mutex
	closed bool
	idle   []idleConn
}

type idleConn struct {
	splice.Conn
	since time.Time
}

func newQuestions(link Link) *questions { return &questions{link: link} }

// ask returns the answer to a datagram's question, cut to what the asker can take.
func (q *questions) ask(ctx context.Context, question []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if conn, ok := q.take(); ok {
		if answer, err := q.askOn(ctx, conn, question); err == nil || ctx.Err() != nil {
			return fit(question, answer), err
		} // the other end ended it while it was idle
	}
	conn, err := q.link.DNS(ctx)
	if err != nil {
		return nil, fmt.Errorf("reach the pod's resolver: %w", err)
	}
	answer, err := q.askOn(ctx, conn, question)
	return fit(question, answer), err
}

func (q *questions) askOn(ctx context.Context, conn splice.Conn, question []byte) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { splice.Reset(conn) })
	answer, err := exchange(conn, question)
	if !stop() || err != nil {
		splice.Reset(conn)
		return nil, errors.Join(err, context.Cause(ctx))
	}
	q.put(conn)
	return answer, nil
}

func exchange(conn splice.Conn, question []byte) ([]byte, error) {
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(question))), question...)
	if _, err := conn.Write(framed); err != nil {
		return nil, fmt.Errorf("ask the pod's resolver: %w", err)
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, fmt.Errorf("read the resolver's answer: %w", err)
	}
	answer := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, fmt.Errorf("read the resolver's answer: %w", err)
	}
	if len(answer) < 12 || answer[0] != question[0] || answer[1] != question[1] {
		return nil, errors.New("the resolver's answer is to another question")
	}
	return answer, nil
}

func (q *questions) take() (splice.Conn, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.idle) == 0 {
		return nil, false
	}
	last := q.idle[len(q.idle)-1]
	q.idle = q.idle[:len(q.idle)-1]
	return last.Conn, true
}

func (q *questions) put(conn splice.Conn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		_ = conn.Close()
		return
	}
	q.idle = append(q.idle, idleConn{conn, time.Now()})
}

// sweep closes what was not used for long.
func (q *questions) sweep() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.idle) > 0 && time.Since(q.idle[0].since) > idleQuestions {
		_ = q.idle[0].Close()
		q.idle = q.idle[1:]
	}
}

func (q *questions) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, c := range q.idle {
		_ = c.Close()
	}
	q.idle = nil
}

// fit returns answer, or its head with the truncation bit when it is longer than the asker takes: it asks by TCP then.
func fit(question, answer []byte) []byte {
	if len(answer) <= plainUDP || len(answer) <= largestAnswer(question) {
		return answer
	}
	var p dnsmessage.Parser
	header, err := p.Start(answer)
	if err != nil {
		return answer
	}
	asked, err := p.AllQuestions()
	if err != nil {
		return answer
	}
	header.Truncated = true
	cut, err := (&dnsmessage.Message{Header: header, Questions: asked}).Pack()
	if err != nil {
		return answer
	}
	return cut
}

// largestAnswer is what the question's OPT record says (RFC 6891 §6.2.3).
func largestAnswer(question []byte) int {
	var p dnsmessage.Parser
	if _, err := p.Start(question); err != nil {
		return plainUDP
	}
	if errors.Join(p.SkipAllQuestions(), p.SkipAllAnswers(), p.SkipAllAuthorities()) != nil {
		return plainUDP
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return plainUDP
		}
		if h.Type == dnsmessage.TypeOPT {
			return max(plainUDP, int(h.Class))
		}
		if p.SkipAdditional() != nil {
			return plainUDP
		}
	}
}
