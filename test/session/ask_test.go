//go:build linux

package session

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/testkit/pod"
)

// askVar has the requests of the role "ask".
const askVar = "PODSTEP_TEST_ASK"

// question is a request to the target's port 80.
type question struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	// User and ID are sent as X-User and X-Request-Id.
	User string `json:"user"`
	ID   string `json:"id"`
	// HTTP2 asks with prior knowledge; the first question's counts for all.
	HTTP2 bool `json:"http2"`
	// Together asks all at once, over HTTP/2 on one connection; the first question's counts for all.
	Together bool `json:"together"`
}

// reply is what its client saw.
type reply struct {
	Status int           `json:"status"`
	Retry  string        `json:"retry"` // Retry-After
	Body   string        `json:"body"`
	Local  string        `json:"local"` // the client's end of the connection
	Took   time.Duration `json:"took"`
	Error  string        `json:"error"`
}

// by says who of the shops answered.
func (r reply) by() string {
	var cart struct{ AnsweredBy string }
	if json.Unmarshal([]byte(r.Body), &cart) == nil {
		return cart.AnsweredBy
	}
	return strings.TrimSpace(r.Body)
}

// runAsk is the role "ask": it asks the questions one after the other on one connection, as long as that is kept, and prints the replies.
func runAsk() {
	var questions []question
	if err := json.Unmarshal([]byte(os.Getenv(askVar)), &questions); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(clientAddress)}}
	transport := &http.Transport{DialContext: dialer.DialContext}
	if questions[0].HTTP2 {
		transport.Protocols = &http.Protocols{}
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	client := &http.Client{Transport: transport, Timeout: 3 * testkit.Patience}
	replies := make([]reply, len(questions))
	var asking sync.WaitGroup
	for i, q := range questions {
		asking.Go(func() { replies[i] = q.replied(client) })
		if !questions[0].Together {
			asking.Wait()
			_ = json.NewEncoder(os.Stdout).Encode(replies[i])
		}
	}
	if asking.Wait(); questions[0].Together {
		for _, r := range replies {
			_ = json.NewEncoder(os.Stdout).Encode(r)
		}
	}
	os.Exit(0)
}

func (q question) replied(client *http.Client) reply {
	began := time.Now()
	r, err := q.ask(client)
	r.Took = time.Since(began)
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

func (q question) ask(client *http.Client) (r reply, err error) {
	var body io.Reader
	if q.Method == http.MethodPost {
		body = strings.NewReader("a=1")
	}
	request, err := http.NewRequest(q.Method, "http://"+podAddress+q.Path, body)
	if err != nil {
		return r, err
	}
	request = request.WithContext(httptrace.WithClientTrace(request.Context(), &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) { r.Local = c.Conn.LocalAddr().String() },
	}))
	request.Header.Set("X-User", q.User)
	request.Header.Set("X-Request-Id", q.ID)
	answer, err := client.Do(request)
	if err != nil {
		return r, err
	}
	defer answer.Body.Close()
	r.Status, r.Retry = answer.StatusCode, answer.Header.Get("Retry-After")
	b, err := io.ReadAll(answer.Body)
	r.Body = string(b)
	return r, err
}

// asked are questions under way.
type asked struct {
	t    *testing.T
	done chan struct{}
	out  bytes.Buffer // its lines are read when done is closed
	errs testkit.Output
	n    int
}

// ask has a client in the pod ask the questions, one after the other on one connection.
func (s *stage) ask(questions ...question) *asked {
	s.t.Helper()
	text, err := json.Marshal(questions)
	if err != nil {
		s.t.Fatal(err)
	}
	a := &asked{t: s.t, done: make(chan struct{}), n: len(questions)}
	proc, err := s.pod.Exec(pod.Command{
		Args: []string{filepath.Join(kit, "self")}, Env: []string{roleVar + "=ask", askVar + "=" + string(text)}, Stdout: &a.out, Stderr: &a.errs,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(a.done)
		proc.Wait()
	}()
	s.t.Cleanup(func() {
		_ = proc.Signal(9)
		<-a.done
	})
	return a
}

// replies waits for all of them.
func (a *asked) replies() (list []reply) {
	a.t.Helper()
	select {
	case <-a.done:
	case <-time.After(testkit.Patience):
		a.t.Fatal("the client still waits for an answer")
	}
	lines := bufio.NewScanner(bytes.NewReader(a.out.Bytes()))
	for lines.Scan() {
		var r reply
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			a.t.Fatal(errors.Join(err, errors.New(lines.Text())))
		}
		list = append(list, r)
	}
	if len(list) != a.n {
		a.t.Fatalf("%d replies to %d questions: %s", len(list), a.n, a.errs.String())
	}
	return list
}

// reply waits for the only one.
func (a *asked) reply() reply {
	a.t.Helper()
	return a.replies()[0]
}

// waits reports whether no answer is complete.
func (a *asked) waits() bool {
	select {
	case <-a.done:
		return false
	default:
		return true
	}
}
