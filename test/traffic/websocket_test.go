//go:build linux

package traffic

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"

	"podstep.dev/internal/wire"
)

// webSocket echoes messages in their own fragments' sizes, and says first who it is.
func (p *party) webSocket(w http.ResponseWriter, r *http.Request) {
	upgrader := websocket.Upgrader{EnableCompression: true, Subprotocols: []string{"echo"}}
	c, err := upgrader.Upgrade(w, r, http.Header{"X-Party": {p.name}})
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	for {
		kind, text, err := c.ReadMessage()
		if err != nil {
			return
		}
		out, err := c.NextWriter(kind)
		if err != nil {
			return
		}
		for len(text) > 0 {
			n := min(len(text), 5000)
			if _, err := out.Write(text[:n]); err != nil {
				return
			}
			text = text[n:]
		}
		if out.Close() != nil {
			return
		}
	}
}

// heard is what a client of a WebSocket heard of one case.
type heard struct {
	Kind     int
	Size     int
	Same     bool
	Pong     string
	Closed   int
	Protocol string
	Error    string
}

// webSocketCase is one of the kinds of the Autobahn testsuite: messages of the sizes at which frames' lengths are written in
// another way, fragments with pings between, compression, closing handshakes with codes, and what a server must refuse.
type webSocketCase struct {
	name     string
	compress bool
	play     func(c *websocket.Conn) (heard, error)
}

func webSocketCases() (all []webSocketCase) {
	for _, kind := range []int{websocket.TextMessage, websocket.BinaryMessage} {
		for _, size := range []int{0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 1 << 20} {
			for _, compress := range []bool{false, true} {
				all = append(all, webSocketCase{fmt.Sprintf("message of kind %d, %d bytes, compressed %v", kind, size, compress), compress, func(c *websocket.Conn) (heard, error) {
					text := bytes.Repeat([]byte("x"), size)
					if err := c.WriteMessage(kind, text); err != nil {
						return heard{}, err
					}
					k, back, err := c.ReadMessage()
					return heard{Kind: k, Size: len(back), Same: bytes.Equal(text, back)}, err
				}})
			}
		}
	}
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1011, 3000, 4999} {
		all = append(all, webSocketCase{fmt.Sprintf("close %d", code), false, func(c *websocket.Conn) (heard, error) {
			err := c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(code, "bye"))
			if err != nil {
				return heard{}, err
			}
			_, _, err = c.ReadMessage()
			return closed(err)
		}})
	}
	ping := func(text string) webSocketCase {
		return webSocketCase{"ping in a fragmented message " + text, false, func(c *websocket.Conn) (h heard, err error) {
			c.SetPongHandler(func(data string) error { h.Pong = data; return nil })
			w, err := c.NextWriter(websocket.TextMessage)
			if err != nil {
				return h, err
			}
			for i := range 20 {
				if _, err := w.Write(bytes.Repeat([]byte{byte('a' + i)}, 3000)); err != nil {
					return h, err
				}
				if i == 10 {
					if err := c.WriteControl(websocket.PingMessage, []byte(text), time.Now().Add(patience)); err != nil {
						return h, err
					}
				}
			}
			if err := w.Close(); err != nil {
				return h, err
			}
			_, back, err := c.ReadMessage()
			h.Size = len(back)
			return h, err
		}}
	}
	all = append(all, ping(""), ping(strings.Repeat("p", 125)))
	for name, frame := range map[string]string{
		"reserved bit":           "\x91\x80\x00\x00\x00\x00",
		"reserved opcode":        "\x83\x80\x00\x00\x00\x00",
		"unmasked":               "\x81\x01x",
		"fragmented ping":        "\x09\x80\x00\x00\x00\x00",
		"continuation of nought": "\x80\x80\x00\x00\x00\x00",
		"long ping":              "\x89\xfe\x00\x80\x00\x00\x00\x00",
	} {
		all = append(all, webSocketCase{"refused: " + name, false, func(c *websocket.Conn) (heard, error) {
			if _, err := c.NetConn().Write([]byte(frame)); err != nil {
				return heard{}, err
			}
			_, _, err := c.ReadMessage()
			return closed(err)
		}})
	}
	return all
}

func closed(err error) (heard, error) {
	var end *websocket.CloseError
	if errors.As(err, &end) {
		return heard{Closed: end.Code}, nil
	}
	return heard{}, err
}

// TestWebSocketIsTheSame : each case ends as it does without podstep, passed through to the target and at the debuggee.
func TestWebSocketIsTheSame(t *testing.T) {
	s := newStage(t, policies{onPause: wire.PausePass})
	hear := func(addr, party string, c webSocketCase) heard {
		dialer := websocket.Dialer{EnableCompression: c.compress, Subprotocols: []string{"other", "echo"}, HandshakeTimeout: patience}
		conn, answer, err := dialer.DialContext(t.Context(), "ws://"+addr+"/ws", nil)
		if err != nil {
			t.Fatal(c.name, err)
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if got := answer.Header.Get("X-Party"); got != party {
			t.Errorf("%s: %q answered, want %q", c.name, got, party)
		}
		h, err := c.play(conn)
		h.Protocol = conn.Subprotocol()
		if err != nil {
			h.Error = err.Error()
		}
		return h
	}
	for _, c := range webSocketCases() {
		direct := hear(s.debuggee.http, "debuggee", c)
		if direct.Error != "" {
			t.Errorf("%s, without podstep: %s", c.name, direct.Error)
		}
		s.pause(true)
		passed := hear(s.http, "target", c)
		s.pause(false)
		stolen := hear(s.http, "debuggee", c)
		if d := cmp.Diff(direct, passed); d != "" {
			t.Errorf("%s, passed through: %s", c.name, d)
		}
		if d := cmp.Diff(direct, stolen); d != "" {
			t.Errorf("%s, stolen: %s", c.name, d)
		}
	}
}
