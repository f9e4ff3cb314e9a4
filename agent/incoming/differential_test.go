//go:build linux

package incoming

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

// act is what one end of a connection does when it has heard so many bytes in all, and the other end so many.
type act struct {
	heard, reached int
	say            string
	// step is how many bytes are written at once, 0 for all.
	step int
	// end is "fin", "close" or "reset", or nothing.
	end string
}

// heard is what an end heard, and how that ended.
type heard struct{ text, end string }

// party is one end of a connection that acts by a script.
type party struct {
	conn *net.TCPConn
	peer *party
	mu   *sync.Mutex
	cond *sync.Cond
	text []byte
	end  string
	over bool
}

// dialogue is two scripts.
type dialogue struct{ client, server []act }

// dialoguePatience bounds one dialogue; on a busy machine large bodies wait for what narrow buffers made the kernel drop to be sent again.
const dialoguePatience = 30 * time.Second

// hold has both ends act, and returns what each heard. The server's end is the connection that comes.
func (d dialogue) hold(client *net.TCPConn, conns <-chan *net.TCPConn) (atClient, atServer heard) {
	var mu sync.Mutex
	cond := sync.NewCond(&mu)
	c, s := &party{conn: client, mu: &mu, cond: cond}, &party{mu: &mu, cond: cond}
	c.peer, s.peer = s, c
	late, cancel := context.WithTimeout(context.Background(), dialoguePatience)
	defer cancel()
	defer context.AfterFunc(late, func() {
		mu.Lock()
		defer mu.Unlock()
		c.over, s.over = true, true
		cond.Broadcast()
	})()
	var both sync.WaitGroup
	begin := func(p *party, acts []act) {
		_ = p.conn.SetDeadline(time.Now().Add(dialoguePatience))
		both.Go(p.listen)
		both.Go(func() { p.play(acts) })
	}
	begin(c, d.client)
	select {
	case s.conn = <-conns:
		begin(s, d.server)
	case <-late.Done():
		s.end = "was not connected to"
	}
	both.Wait()
	for _, p := range []*party{c, s} {
		if p.conn != nil {
			_ = p.conn.Close()
		}
	}
	return heard{string(c.text), c.end}, heard{string(s.text), s.end}
}

func (p *party) listen() {
	buf := make([]byte, 32<<10)
	for {
		n, err := p.conn.Read(buf)
		p.mu.Lock()
		p.text = append(p.text, buf[:n]...)
		if err != nil {
			p.over, p.end = true, endOf(err)
		}
		p.cond.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func endOf(err error) string {
	switch {
	case errors.Is(err, io.EOF):
		return "fin"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, net.ErrClosed):
		return "own"
	}
	return err.Error()
}

// play acts, and closes when all is said and heard.
func (p *party) play(acts []act) {
	for _, a := range acts {
		p.mu.Lock()
		for !p.over && (len(p.text) < a.heard || !p.peer.over && len(p.peer.text) < a.reached) {
			p.cond.Wait()
		}
		p.mu.Unlock()
		for rest := a.say; rest != ""; {
			n := len(rest)
			if a.step > 0 {
				n = min(a.step, n)
			}
			if _, err := io.WriteString(p.conn, rest[:n]); err != nil {
				break
			}
			rest = rest[n:]
		}
		switch a.end {
		case "fin":
			_ = p.conn.CloseWrite()
		case "close":
			_ = p.conn.Close()
			return
		case "reset":
			_ = p.conn.SetLinger(0)
			_ = p.conn.Close()
			return
		}
	}
	p.mu.Lock()
	for !p.over {
		p.cond.Wait()
	}
	p.mu.Unlock()
	_ = p.conn.CloseWrite()
}

// course is a client, and a target that is reached by it at port 81 and, past what is tested, at port 80.
type course struct {
	client *testpod.Client
	t      testing.TB
	conns  map[string]<-chan *net.TCPConn
}

func newCourse(t *testing.T) *course {
	t.Helper()
	c := &course{client: testpod.NewClient(t), t: t, conns: map[string]<-chan *net.TCPConn{}}
	for _, port := range []string{"80", "81"} {
		l, err := net.Listen("tcp", testpod.Pod4+":"+port)
		if err != nil {
			t.Fatal(err)
		}
		conns := make(chan *net.TCPConn, 16)
		var accepting sync.WaitGroup
		accepting.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				conns <- c.(*net.TCPConn)
			}
		})
		t.Cleanup(func() { _ = l.Close(); accepting.Wait() })
		c.conns[port] = conns
	}
	return c
}

// run holds a dialogue by way of a port.
func (c *course) run(port string, d dialogue) (atClient, atServer heard) {
	client, err := c.client.Dial(testpod.Pod4 + ":" + port)
	if err != nil {
		return heard{end: err.Error()}, heard{}
	}
	return d.hold(client, c.conns[port])
}

// exchanged is a request and its answer in a dialogue.
type exchanged struct {
	head, body string
	// interim is said between the request's head and its body, for which the client waits.
	interim  string
	response string
	// early : the answer does not wait for the body.
	early bool
	// mine : a debuggee answers.
	mine bool
}

func (x exchanged) String() string {
	return fmt.Sprintf("\n%.500q + %d answered by %.200q, %d bytes, interim %q, early %v, mine %v", x.head, len(x.body), x.response, len(x.response), x.interim, x.early, x.mine)
}

// script makes a dialogue of exchanges: all requests at once, or each after the answer before.
func script(all []exchanged, pipelined bool, step int, clientEnd, serverEnd string) dialogue {
	var d dialogue
	said, toServer, answered, byServer := 0, 0, 0, 0
	say := func(text string) {
		if text != "" {
			d.client = append(d.client, act{heard: answered, say: text, step: step})
		}
	}
	wait := 0
	for _, x := range all {
		if !pipelined || x.interim != "" {
			answered = wait
		}
		say(x.head)
		if x.interim != "" {
			answered = wait + len(x.interim)
		}
		say(x.body)
		said += len(x.head) + len(x.body)
		wait += len(x.interim) + len(x.response)
		if x.mine {
			continue
		}
		byHead := toServer + len(x.head)
		toServer = byHead + len(x.body)
		if x.interim != "" {
			d.server = append(d.server, act{heard: byHead, say: x.interim, step: step})
		}
		at := toServer
		if x.early {
			at = byHead
		}
		d.server = append(d.server, act{heard: at, say: x.response, step: step})
		byServer += len(x.interim) + len(x.response)
	}
	d.client = append(d.client, act{heard: wait, reached: toServer, end: clientEnd})
	d.server = append(d.server, act{heard: toServer, reached: wait, end: serverEnd})
	return d
}

// compare holds a dialogue directly and past what is tested.
func (c *course) compare(t interface{ Errorf(string, ...any) }, d dialogue, what any) {
	wantClient, wantServer := c.run("81", d)
	gotClient, gotServer := c.run("80", d)
	if gotClient != wantClient {
		t.Errorf("the client heard %s, directly %s\nof %v", gotClient, wantClient, what)
	}
	if gotServer != wantServer {
		t.Errorf("the target heard %s, directly %s\nof %v", gotServer, wantServer, what)
	}
}

func (h heard) String() string {
	if len(h.text) > 600 {
		return fmt.Sprintf("%d bytes, %.300q...%q and %s", len(h.text), h.text, h.text[len(h.text)-300:], h.end)
	}
	return fmt.Sprintf("%q and %s", h.text, h.end)
}

func TestPassedBytesAreAsThoseOfADirectConnection(t *testing.T) {
	c := newCourse(t)
	f := startFarEnd(t, Options{})
	f.on(func(st *mux.Stream) { t.Errorf("offered: %+v", st.Header); refuse(st) })
	f.stealRequests(t, "X-User: nobody")
	for _, x := range corpus() {
		for _, pipelined := range []bool{false, true} {
			if !t.Failed() {
				all := []exchanged{plainExchange, x, plainExchange}
				c.compare(t, script(all, pipelined, 0, "fin", ""), all)
				c.compare(t, script(all[:2], pipelined, 0, "", "close"), all[:2])
			}
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		all := rapid.SliceOfN(rapid.Custom(anyExchange), 1, 5).Draw(rt, "exchanges")
		c.compare(rt, draw(rt, all), all)
	})
	f.freed(t)
}

// draw makes a dialogue of exchanges in one of many ways.
func draw(rt *rapid.T, all []exchanged) dialogue {
	ends := rapid.SampledFrom([][2]string{{"fin", ""}, {"", "close"}, {"", "fin"}, {"close", ""}, {"reset", ""}, {"", "reset"}}).Draw(rt, "ends")
	return script(all, rapid.Bool().Draw(rt, "pipelined"), drawStep(rt, all), ends[0], ends[1])
}

func drawStep(rt *rapid.T, all []exchanged) int {
	size := 0
	for _, x := range all {
		size += len(x.head) + len(x.body) + len(x.response)
	}
	step := rapid.SampledFrom([]int{0, 0, 1, 7, 100, 4096, 65536}).Draw(rt, "step")
	if size > 2000*step && step > 0 {
		return 4096
	}
	return step
}

// TestPassedBytesAmongADebuggeesRequestsAreExact has a debuggee answer some: the target hears of the others only, the client all answers in
// order.
func TestPassedBytesAmongADebuggeesRequestsAreExact(t *testing.T) {
	c := newCourse(t)
	f := startFarEnd(t, Options{})
	f.stealRequests(t, "X-User: alice")
	rapid.Check(t, func(rt *rapid.T) {
		all := rapid.SliceOfN(rapid.Custom(regularExchange), 1, 8).Draw(rt, "exchanges")
		wanted := []string{}
		var answers []string
		var toTarget, toClient strings.Builder
		for i := range all {
			x := &all[i]
			if x.mine = i > 0 && rapid.Bool().Draw(rt, "mine"); x.mine {
				// A field that comes twice with different values is nobody's.
				line, rest, _ := strings.Cut(strings.ReplaceAll(x.head, "x-UsEr: bob\r\n", ""), "\r\n")
				x.head = line + "\r\nx-user:  alice \r\n" + rest
				wanted, answers = append(wanted, x.head+x.body), append(answers, x.interim+x.response)
			} else {
				toTarget.WriteString(x.head + x.body)
			}
			toClient.WriteString(x.interim + x.response)
		}
		var mu sync.Mutex
		var got []string
		f.on(func(st *mux.Stream) {
			_ = st.Opened(wire.Answer{})
			mu.Lock()
			n := len(got)
			got = append(got, "")
			mu.Unlock()
			if n >= len(answers) {
				st.Reset()
				return
			}
			_ = wire.WriteFrame(st, wire.Outcome{}, nil)
			interim := ""
			if strings.Contains(strings.ToLower(wanted[n]), "100-continue") {
				interim = answers[n][:strings.Index(answers[n], "\r\n\r\n")+4]
				_, _ = io.WriteString(st, interim)
			}
			text, _ := io.ReadAll(st)
			mu.Lock()
			got[n] = string(text)
			mu.Unlock()
			_, _ = io.WriteString(st, answers[n][len(interim):])
			_ = st.CloseWrite()
			_ = st.Close()
		})
		d := script(all, rapid.Bool().Draw(rt, "pipelined"), drawStep(rt, all), "fin", "")
		atClient, atServer := c.run("80", d)
		if want := (heard{toClient.String(), "fin"}); atClient != want {
			rt.Errorf("the client heard %s, want %s\nof %v", atClient, want, all)
		}
		if want := (heard{toTarget.String(), "fin"}); atServer != want {
			rt.Errorf("the target heard %s, want %s\nof %v", atServer, want, all)
		}
		mu.Lock()
		defer mu.Unlock()
		if strings.Join(got, "") != strings.Join(wanted, "") || len(got) != len(wanted) {
			rt.Errorf("the debuggee heard %q, want %q", got, wanted)
		}
	})
	f.freed(t)
}
