package tunnel

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// TestCopiesAreRecorded : the requests of a copied connection are told apart, with what the debuggee answers to each.
func TestCopiesAreRecorded(t *testing.T) {
	const ok, chunked = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
	upload := "POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
	upgrade := "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
	for name, c := range map[string]struct {
		sent, answered string
		want           [][2]string
	}{
		"kept":      {get("/1") + upload + get("/2"), ok + chunked + ok, [][2]string{{get("/1"), ok}, {upload, chunked}, {get("/2"), ok}}},
		"interim":   {get("/1"), "HTTP/1.1 103 Early Hints\r\n\r\n" + ok, [][2]string{{get("/1"), "HTTP/1.1 103 Early Hints\r\n\r\n" + ok}}},
		"until end": {get("/1"), "HTTP/1.0 200 OK\r\n\r\nall", [][2]string{{get("/1"), "HTTP/1.0 200 OK\r\n\r\nall"}}},
		"upgrade":   {upgrade + "raw", "HTTP/1.1 101 Switching Protocols\r\n\r\nraw", [][2]string{{upgrade, "HTTP/1.1 101 Switching Protocols\r\n\r\nraw"}}},
		"odd":       {get("/1") + "GET /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n" + get("/3"), ok, [][2]string{{get("/1"), ok}}},
		"no HTTP":   {"\x00\x01\x02", "\x03", nil},
		"unasked":   {get("/1"), ok + ok, [][2]string{{get("/1"), ok}}},
	} {
		t.Run(name, func(t *testing.T) {
			recorder := &tapes{}
			d := raw(t, func(conn *net.TCPConn, in *bufio.Reader) {
				if _, err := io.ReadFull(in, make([]byte, len(c.sent))); err != nil {
					t.Errorf("the copy: %v", err)
				}
				for piece := c.answered; len(piece) > 0; piece = piece[min(len(piece), 7):] {
					_, _ = io.WriteString(conn, piece[:min(len(piece), 7)])
				}
			})
			agent, _ := link(t, &Tunnel{Recorder: recorder, Deliver: d.deliver})
			stream, err := agent.Open(t.Context(), incoming(wire.KindCopy), []byte(c.sent[:2]))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(stream, c.sent[2:]); err != nil {
				t.Fatal(err)
			}
			_ = stream.CloseWrite()
			if answer, err := io.ReadAll(stream); err != nil || len(answer) > 0 {
				t.Errorf("a copy was answered %q: %v", answer, err)
			}
			testkit.Eventually(t, "all is recorded", func() bool {
				all := recorder.all()
				for _, tape := range all {
					if !tape.done() {
						return false
					}
				}
				return len(all) == len(c.want)
			})
			var got [][2]string
			for _, tape := range recorder.all() {
				got = append(got, [2]string{string(tape.request), string(tape.response)})
				if tape.err != nil || strings.Join(tape.went, " ") != "copy: the target answered its client" {
					t.Errorf("went %q, ended: %v", tape.went, tape.err)
				}
				if len(tape.seen) != 1 || tape.seen[0] != (seen{tape.header.From, 0}) {
					t.Errorf("seen as %v, came from %v", tape.seen, tape.header.From)
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestACopyThatIsNotAnswered(t *testing.T) {
	recorder := &tapes{}
	d := raw(t, func(conn *net.TCPConn, in *bufio.Reader) {
		_, _ = readRequest(in)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConte")
	})
	agent, _ := link(t, &Tunnel{Recorder: recorder, Deliver: d.deliver})
	stream, err := agent.Open(t.Context(), incoming(wire.KindCopy), []byte(get("/1")+get("/2")+"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc"))
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.CloseWrite()
	testkit.Eventually(t, "all three are recorded", func() bool { return len(recorder.all()) == 3 && recorder.all()[2].done() })
	for i, tape := range recorder.all() {
		if tape.err == nil {
			t.Errorf("request %d ended in order", i)
		}
	}
}
