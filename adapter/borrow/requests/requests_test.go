package requests_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func header() wire.Header {
	return wire.Header{Kind: wire.KindRequest, Port: 80, From: netip.MustParseAddrPort("10.42.0.9:4711"), To: netip.MustParseAddrPort("10.42.0.7:80"), Protocol: wire.HTTP1}
}

// come records a request that the debuggee answers.
func come(l *requests.Log, request, response string) uint64 {
	r := l.Begin(header())
	r.Request([]byte(request))
	r.Went(requests.Debuggee, "")
	r.Response([]byte(response))
	r.End(nil)
	return r.ID()
}

const (
	get   = "GET /cart?id=7&access_token=s3cret HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer s3cret\r\nCookie: a=s3cret; b=s3cret\r\n\r\n"
	ok    = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nSet-Cookie: sid=s3cret; Path=/\r\n\r\nyes"
	asked = "HTTP/1.1 100 Continue\r\n\r\n"
)

func TestARequestIsShownWithItsTimesAndWithoutItsSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := requests.New(requests.Options{})
		r := l.Begin(header())
		came := time.Now()
		r.Request([]byte(get[:20]))
		r.Request([]byte(get[20:]))
		r.Went(requests.Held, "a rule")
		time.Sleep(10 * time.Millisecond)
		r.Went(requests.Debuggee, "")
		time.Sleep(30 * time.Millisecond)
		r.Response([]byte(asked + ok[:10]))
		time.Sleep(5 * time.Millisecond)
		r.Response([]byte(ok[10:]))
		inside := l.Inside()
		if len(inside) != 1 || inside[0].ID != 1 || inside[0].Done {
			t.Errorf("inside the debuggee: %v", inside)
		}
		r.End(nil)
		if inside := l.Inside(); len(inside) != 0 {
			t.Errorf("inside the debuggee at the end: %v", inside)
		}
		got, _ := l.Entry(1, requests.Masked)
		want := requests.Entry{
			Summary: requests.Summary{
				ID: 1, Came: came, Port: 80, Peer: header().From, Protocol: "HTTP/1.1", Method: "GET", Path: "/cart", Query: "id=7&access_token=****",
				Status: 200, Went: requests.Debuggee, Delivered: came.Add(10 * time.Millisecond), Done: true, FirstByte: 40, Took: 45,
			},
			Request: requests.Message{
				Line:   "GET /cart?id=7&access_token=**** HTTP/1.1",
				Fields: []requests.Field{{Name: "Host", Value: "shop"}, {Name: "Authorization", Value: "Bearer ****"}, {Name: "Cookie", Value: "a=****; b=****"}},
			},
			Response: &requests.Message{
				Line:   "HTTP/1.1 200 OK",
				Fields: []requests.Field{{Name: "Content-Length", Value: "3"}, {Name: "Set-Cookie", Value: "sid=****; Path=/"}},
				Body:   requests.Body{Size: 3, Text: "yes"},
			},
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		plain, _ := l.Entry(1, requests.Plain)
		if got := plain.Request.Value("authorization"); got != "Bearer s3cret" || plain.Query != "id=7&access_token=s3cret" {
			t.Errorf("plain: %q, %q", got, plain.Query)
		}
	})
}

func TestBodiesAreShownDecoded(t *testing.T) {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write([]byte("hello"))
	_ = w.Close()
	z := zipped.String()
	for name, test := range map[string]struct {
		response string
		want     requests.Body
	}{
		"chunked":         {"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", requests.Body{Size: 21, Text: "hello!"}},
		"chunked, part":   {"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n9\r\n!", requests.Body{Size: 14, Text: "hello!"}},
		"gzip":            {"Content-Encoding: gzip\r\n\r\n" + z, requests.Body{Size: int64(len(z)), Coding: "gzip", Text: "hello"}},
		"gzip in chunks":  {"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(z), z), requests.Body{Size: int64(len(z) + 11), Coding: "gzip", Text: "hello"}},
		"no gzip":         {"Content-Encoding: gzip\r\n\r\nhello", requests.Body{Size: 5, Text: "hello"}},
		"binary":          {"\r\n\x00\x01", requests.Body{Size: 2, Binary: []byte{0, 1}}},
		"half a letter":   {"\r\nh\xc3", requests.Body{Size: 2, Text: "h\xc3"}},
		"Latin 1":         {"\r\nh\xe4h", requests.Body{Size: 3, Binary: []byte("h\xe4h")}},
		"nothing":         {"Content-Length: 0\r\n\r\n", requests.Body{}},
		"JSON":            {"Content-Type: application/json\r\n\r\n" + `{"user": "x", "password" : "a\"b", "apiKey":12, "t": {"token":"z`, requests.Body{Size: 64, Text: `{"user": "x", "password" : "****", "apiKey":"****", "t": {"token":"****"`}},
		"JSON as a form":  {"Content-Type: application/x-www-form-urlencoded\r\n\r\n" + `{"token":"z"}`, requests.Body{Size: 13, Text: `{"token":"****"}`}},
		"a form":          {"Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n\r\nuser=x&password=y", requests.Body{Size: 17, Text: "user=x&password=****"}},
		"an upgraded one": {"", requests.Body{}},
	} {
		t.Run(name, func(t *testing.T) {
			l := requests.New(requests.Options{})
			if test.response == "" {
				come(l, get, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
			} else {
				come(l, get, "HTTP/1.1 200 OK\r\n"+test.response)
			}
			e, _ := l.Entry(1, requests.Masked)
			if e.Response == nil {
				t.Fatal("no response")
			}
			if diff := cmp.Diff(test.want, e.Response.Body); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheLogIsBounded(t *testing.T) {
	l := requests.New(requests.Options{Entries: 3, Bytes: 64 << 10, Body: 1000})
	open := l.Begin(header())
	open.Request([]byte(get))
	for range 10 {
		come(l, get, ok)
	}
	if got := ids(l.List(0, 0)); got != "[1 10 11]" {
		t.Errorf("kept %s, want the one that is not over and the last two", got)
	}
	if got := ids(l.List(1, 1)); got != "[11]" {
		t.Errorf("since 1, one: %s", got)
	}
	come(l, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"+strings.Repeat("x", 5000), ok)
	e, _ := l.Entry(12, requests.Masked)
	if b := e.Request.Body; b.Size != 5000 || !b.Cut || len(b.Text) != 1000 {
		t.Errorf("body of %d bytes, %d kept, cut %v", b.Size, len(b.Text), b.Cut)
	}
	// Nothing is over: what there is room for is kept, and the oldest goes at last.
	var all []*requests.Recording
	for range 5 {
		r := l.Begin(header())
		r.Request([]byte(get + strings.Repeat("x", 900)))
		all = append(all, r)
	}
	if got := ids(l.List(0, 0)); got != "[15 16 17]" {
		t.Errorf("kept %s of those that are not over", got)
	}
	for _, r := range all { // those that are not in the log either
		r.Request([]byte("more"))
		r.Response([]byte(ok))
		r.Went(requests.Debuggee, "")
		r.End(nil)
	}
}

func TestBytesAreBoundedOverAllRequests(t *testing.T) {
	l := requests.New(requests.Options{Bytes: 100 << 10})
	var open []*requests.Recording
	for range 8 {
		r := l.Begin(header())
		r.Request([]byte(get + strings.Repeat("x", 40<<10)))
		open = append(open, r)
	}
	kept := 0
	for _, e := range l.Entries(requests.Masked) {
		kept += len(e.Request.Body.Bytes())
	}
	if kept > 100<<10 {
		t.Errorf("%d bytes are kept", kept)
	}
	for _, r := range open {
		r.End(errors.New("reset"))
	}
	come(l, get, ok)
	if e, found := l.Entry(9, requests.Masked); !found || e.Method != "GET" {
		t.Errorf("the newest: %v, %v", e, found)
	}
}

func TestABodyHasNoHoles(t *testing.T) {
	l := requests.New(requests.Options{Bytes: 10_000})
	fill := l.Begin(header())
	fill.Request([]byte(strings.Repeat("f", 9_500)))
	r := l.Begin(header())
	r.Request([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n" + strings.Repeat("a", 2000)))
	fill.End(nil) // now there is room
	r.Request([]byte(strings.Repeat("b", 2000)))
	r.End(nil)
	if e, _ := l.Entry(r.ID(), requests.Masked); strings.Contains(e.Request.Body.Text, "b") || !e.Request.Body.Cut || e.Request.Body.Size != 4000 {
		t.Errorf("%+v", e.Request.Body)
	}
}

func TestSlowReadersAreToldWhatTheyMissed(t *testing.T) {
	l := requests.New(requests.Options{Entries: 4})
	s := l.Subscribe()
	defer s.Close()
	for range 10 {
		come(l, get, ok)
	}
	changed, omitted, err := s.Next(t.Context(), 0)
	if err != nil || omitted != 6 || ids(changed) != "[7 8 9 10]" {
		t.Errorf("changed %s, omitted %d, %v", ids(changed), omitted, err)
	}
	for range 5 {
		come(l, get, ok)
	}
	changed, omitted, err = s.Next(t.Context(), 3)
	if err != nil || omitted != 2 || ids(changed) != "[13 14 15]" {
		t.Errorf("at most 3: changed %s, omitted %d, %v", ids(changed), omitted, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	cancel(over)
	if _, _, err := s.Next(ctx, 0); !errors.Is(err, over) {
		t.Errorf("Next: %v", err)
	}
}

func TestRecordingIsForManyGoroutines(t *testing.T) {
	l := requests.New(requests.Options{Entries: 10, Bytes: 10 << 10})
	s := l.Subscribe()
	defer s.Close()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			r := l.Begin(header())
			var both sync.WaitGroup
			both.Go(func() { r.Request([]byte(get)); r.Went(requests.Debuggee, "") })
			both.Go(func() { r.Response([]byte(ok)) })
			both.Wait()
			r.End(nil)
			l.List(0, 0)
		})
	}
	all.Wait()
	if n := len(l.List(0, 0)); n != 10 {
		t.Errorf("%d are kept", n)
	}
}

func TestWhatCannotBeReadIsKeptAsItIs(t *testing.T) {
	l := requests.New(requests.Options{})
	h := header()
	h.Protocol = "h2"
	r := l.Begin(h)
	r.Request([]byte("PRI * HTTP/2.0\r\n\r\n"))
	r.End(nil)
	if s := l.List(0, 0)[0]; s.Method != "" || s.Protocol != "h2" {
		t.Errorf("%+v", s)
	}
	none := l.Begin(header())
	none.Request([]byte("GET / HT"))
	none.End(errors.New("the client went away"))
	come(l, get, "hello")
	if e, _ := l.Entry(3, requests.Masked); e.Response == nil || e.Response.Body.Text != "hello" || e.Status != 0 {
		t.Errorf("%+v", e)
	}
	if e, _ := l.Entry(2, requests.Masked); e.Method != "" || e.Failed != "the client went away" || e.Request.Body.Text != "GET / HT" {
		t.Errorf("%+v", e)
	}
}

func ids(list []requests.Summary) string {
	all := []uint64{}
	for _, s := range list {
		all = append(all, s.ID)
	}
	return fmt.Sprint(all)
}

func BenchmarkRecord(b *testing.B) {
	l := requests.New(requests.Options{})
	s := l.Subscribe()
	defer s.Close()
	h, request, response := header(), []byte(get), []byte(ok+strings.Repeat("x", 1000))
	b.ReportAllocs()
	for b.Loop() {
		r := l.Begin(h)
		r.Request(request)
		r.Went(requests.Debuggee, "")
		r.Response(response)
		r.End(nil)
	}
}
