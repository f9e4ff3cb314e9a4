//go:build linux

package incoming

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/wire"
)

func TestStealTellsWhatItsFilterCannotSee(t *testing.T) {
	client := testpod.NewClient(t)
	// It greets after a moment, unless the client speaks first, and answers the first line.
	l, err := net.Listen("tcp", testpod.Pod4+":80")
	if err != nil {
		t.Fatal(err)
	}
	serveEach(t, l, func(c net.Conn) {
		_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		r := bufio.NewReader(c)
		answer := "220 target\r\n"
		line, err := r.ReadString('\n')
		switch {
		case err != nil:
		case strings.HasPrefix(line, "GET /bare"):
			answer = "HTTP/1.1 200 OK\nContent-Length: 0\n\n"
		default:
			answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
		}
		_, _ = io.WriteString(c, answer)
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		_, _ = io.Copy(io.Discard, r)
	})
	var told unreads
	f := startFarEnd(t, Options{Unread: told.add})
	f.on(answerRequest)
	f.stealRequests(t, "X-User: alice")
	for _, text := range []string{
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "hello\n",
		"GET /lf HTTP/1.1\nHost: shop\nX-User: alice\n\n", strings.Replace(others, "\r\n\r\n", "\r\nX-Long: "+strings.Repeat("x", 70<<10)+"\r\n\r\n", 1),
		"", "GET /bare HTTP/1.1\r\nHost: shop\r\n\r\n", others, mine,
	} {
		c := talk(t, client)
		c.send(text)
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if line, err := c.r.ReadString('\n'); err != nil {
			t.Errorf("%.20q is answered with %q, %v", text, line, err)
		}
		_ = c.Close()
	}
	told.become(t, map[wire.Unread]uint64{
		wire.UnreadTLS: 1, wire.UnreadHTTP2: 1, wire.UnreadOther: 1, wire.UnreadOdd: 2, wire.UnreadLong: 1, wire.UnreadServer: 1,
	})
}

func TestUnreadIsToldOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []wire.UnreadParams
		u := newUnread(func(p wire.UnreadParams) { told = append(told, p) })
		for range 3 {
			for range 1000 {
				u.add(7, wire.UnreadTLS)
			}
			u.add(7, wire.UnreadOld)
			time.Sleep(unreadEvery)
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		u.add(7, wire.UnreadTLS)
		u.close()
		u.add(7, wire.UnreadTLS)
		time.Sleep(time.Minute)
		synctest.Wait()
		one := wire.UnreadParams{ID: 7, Connections: map[wire.Unread]uint64{wire.UnreadTLS: 1000, wire.UnreadOld: 1}}
		if diff := cmp.Diff([]wire.UnreadParams{one, one, one}, told); diff != "" {
			t.Error(diff)
		}
	})
}

func TestEstablishedConnectionsAreRead(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1001 1 0000000000000000 100 0 0 10 0
   1: 0200090A:0050 0100090A:D431 01 00000000:00000000 00:00000000 00000000     0        0 1002 1 0000000000000000 20 4 30 10 -1
   2: 0200090A:0050 0100090A:D432 08 00000000:00000000 00:00000000 00000000     0        0 1003 1 0000000000000000 20 4 30 10 -1
   3: 00000000000000000000000001000000:0050 00000000000000000000000001000000:D433 01 00000000:00000000 00:00000000 00000000     0        0 1004 1
`
	type connection struct {
		local, remote uint16
		inode         string
	}
	var got []connection
	established(strings.NewReader(table), func(local, remote uint16, inode string) {
		got = append(got, connection{local, remote, inode})
	})
	want := []connection{{80, 0xd431, "1002"}, {80, 0xd433, "1004"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(connection{})); diff != "" {
		t.Error(diff)
	}
}

func TestTheAgentsOwnConnectionsDidNotExist(t *testing.T) {
	// Both ends are this process's.
	target(t, "127.0.0.1:80")
	c, err := net.Dial("tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if got, err := say(t, c, "hello"); err != nil || got == "" {
		t.Fatalf("%q, %v", got, err)
	}
	if n, err := Existing(80); n != 0 || err != nil {
		t.Errorf("%d connections, %v", n, err)
	}
}

// TestCrowdIsToldToSessionsWithFilters : what the agent does not look at.
func TestCrowdIsToldToSessionsWithFilters(t *testing.T) {
	client := testpod.NewClient(t)
	webTarget(t, testpod.Pod4+":80", nil)
	var told unreads
	f := startFarEnd(t, Options{Memory: NewMemory(16<<20, 2, nil), Unread: told.add})
	f.on(answerRequest)
	f.stealRequests(t, "X-User: alice")
	for range 2 {
		talk(t, client).ask(mine, "debuggee: GET /")
	}
	talk(t, client).ask(mine, "target: GET")
	told.become(t, map[wire.Unread]uint64{wire.UnreadCrowded: 1})
}
