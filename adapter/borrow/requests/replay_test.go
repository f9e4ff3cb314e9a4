package requests_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"podstep.dev/adapter/borrow/requests"
)

// debuggee answers replays and keeps what it got last.
type debuggee struct{ got string }

func (d *debuggee) replay(_ context.Context, _ uint16, raw []byte, rec *requests.Recording) error {
	d.got = string(raw)
	rec.Request(raw)
	rec.Went(requests.Debuggee, "")
	rec.Response([]byte(ok))
	rec.End(nil)
	return nil
}

// again replays request 1 and returns what the debuggee got.
func again(t *testing.T, request, response, edited string) (string, error) {
	t.Helper()
	d := &debuggee{}
	l := requests.New(requests.Options{Replay: d.replay, Body: 2000})
	come(l, request, response)
	r, err := l.Replay(1, edited)
	if err != nil {
		return "", err
	}
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	e, _ := l.Entry(r.ID, requests.Masked)
	if e.ReplayOf != 1 || e.Status != 200 || !e.Done || e.Went != requests.Debuggee || e.Request.Body.Size > int64(len(d.got)) {
		t.Errorf("the replay: %+v", e)
	}
	return d.got, nil
}

func TestReplayIsByteByByte(t *testing.T) {
	for _, request := range []string{get, post, "PUT / HTTP/1.0\r\nX:\ty \r\n\r\n\x00"} {
		if got, err := again(t, request, ok, ""); got != request || err != nil {
			t.Errorf("%q became %q, %v", request, got, err)
		}
	}
}

func TestReplayTakesAnEditedRequest(t *testing.T) {
	masked := func(request string) string {
		l := requests.New(requests.Options{})
		come(l, request, ok)
		e, _ := l.Entry(1, requests.Masked)
		return e.HTTP()
	}
	zipped := "POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n\x00\x01"
	login := "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 29\r\n\r\n" + `{"user":"a","password":"b"}` + "\r\n"
	for name, test := range map[string]struct{ request, edited, want string }{
		"nothing changed":   {get, masked(get), get},
		"no body changed":   {post, masked(post), strings.Replace(post, "X-Empty:", "X-Empty: ", 1)},
		"binary body kept":  {zipped, masked(zipped), "POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n\x00\x01"},
		"a parameter":       {get, strings.Replace(masked(get), "id=7", "id=8", 1), strings.Replace(get, "id=7", "id=8", 1)},
		"another field":     {get, strings.Replace(masked(get), "Host: shop", "Host: shop\nX-Debug: 1", 1), strings.Replace(get, "Host: shop", "Host: shop\r\nX-Debug: 1", 1)},
		"another secret":    {get, strings.Replace(masked(get), "Bearer ****", "Bearer mine", 1), strings.Replace(get, "Bearer s3cret", "Bearer mine", 1)},
		"a body":            {post, strings.Replace(masked(post), "it's\n1", "no", 1), "POST /pay?x=%20 HTTP/1.1\r\nHost: shop:8080\r\nContent-Type: text/plain\r\nX-Empty: \r\nContent-Length: 2\r\n\r\nno"},
		"a body by secrets": {login, strings.Replace(masked(login), `"user":"a"`, `"user":"c"`, 1), strings.Replace(login, `"user":"a"`, `"user":"c"`, 1)},
		"no body any more":  {post, "POST /pay HTTP/1.1\nHost: shop", "POST /pay HTTP/1.1\r\nHost: shop\r\n\r\n"},
		"a URL":             {get, "// mine\r\n\r\nGET http://other:81/x?y\r\nAccept: z\r\n\r\n", "GET /x?y HTTP/1.1\r\nHost: other:81\r\nAccept: z\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := again(t, test.request, ok, test.edited)
			if err != nil || got != test.want {
				t.Errorf("got  %q, %v\nwant %q", got, err, test.want)
			}
		})
	}
}

func TestReplayRefuses(t *testing.T) {
	upgrade := "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n"
	for name, test := range map[string]struct {
		request, response, edited string
		want                      error
	}{
		"a cut body":            {"POST / HTTP/1.1\r\nHost: x\r\n\r\n" + strings.Repeat("x", 100<<10), ok, "", requests.ErrNotWhole},
		"an upgrade":            {upgrade, "HTTP/1.1 101 Switching Protocols\r\n\r\n", "", requests.ErrSwitched},
		"nothing":               {get, ok, "# nothing", nil},
		"no target":             {get, ok, "hello world", nil},
		"no request line":       {get, ok, "hello", nil},
		"a request line of two": {get, ok, "GET / HTTP/2", nil},
		"no field":              {get, ok, "GET / HTTP/1.1\nHost", nil},
		"a field with a blank":  {get, ok, "GET / HTTP/1.1\nHost : x", nil},
		"a smuggled line":       {get, ok, "GET / HTTP/1.1\nHost: x\rX: y", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := again(t, test.request, test.response, test.edited)
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	if got, err := again(t, upgrade, ok, ""); got != upgrade || err != nil {
		t.Errorf("a refused upgrade: %q, %v", got, err)
	}
	l := requests.New(requests.Options{Replay: (&debuggee{}).replay})
	if _, err := l.Replay(7, ""); !errors.Is(err, requests.ErrGone) {
		t.Errorf("an unknown one: %v", err)
	}
	if _, err := requests.New(requests.Options{}).Replay(7, ""); !errors.Is(err, requests.ErrNoReplay) {
		t.Errorf("without a tunnel: %v", err)
	}
}
