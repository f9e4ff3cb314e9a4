package requests_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/internal/http1"
)

// anyRequest draws a request in order, and the secrets in it.
func anyRequest(t *rapid.T) (raw string, secrets []string) {
	secret := func() string {
		s := fmt.Sprintf("s3cret%dx", len(secrets))
		secrets = append(secrets, s)
		return s
	}
	fields := []string{"Host: shop"}
	for range rapid.IntRange(0, 4).Draw(t, "fields") {
		name := rapid.SampledFrom([]string{"Authorization", "X-Api-Key", "Cookie", "X-Session-Id", "Accept", "X-Any", "Referer"}).Draw(t, "name")
		value := rapid.StringMatching(`([!-~äö]([ -~]{0,8}[!-~])?)?`).Draw(t, "value")
		switch name {
		case "Authorization":
			value = rapid.SampledFrom([]string{"Bearer ", "Basic ", ""}).Draw(t, "scheme") + secret()
		case "X-Api-Key", "X-Session-Id":
			value = secret()
		case "Cookie":
			value = "a=" + secret() + "; b=" + secret()
		case "Referer":
			value = "http://shop/?password=" + secret() + "&x=1"
		}
		fields = append(fields, name+": "+value)
	}
	target := "/" + rapid.StringMatching(`[a-z/]{0,5}`).Draw(t, "path")
	if rapid.Bool().Draw(t, "query") {
		target += "?a=1&api_key=" + secret() + "&b=%20&api_key=" + secret()
	}
	body := rapid.SampledFrom([]string{"", "plain", "form", "json", "bytes"}).Draw(t, "body")
	switch body {
	case "plain":
		body = rapid.StringMatching("[a-zäö \r\n=&#]{0,20}\n{0,2}").Draw(t, "text")
	case "form":
		fields = append(fields, "Content-Type: application/x-www-form-urlencoded")
		body = "user=x&password=" + secret() + "&token="
	case "json":
		fields = append(fields, "Content-Type: application/json; charset=utf-8")
		body = fmt.Sprintf(`{"user":"x", "password" : "%s\"", "deep": {"access_token":"%s", "pin": 1234}}`, secret(), secret()) + "\n"
	case "bytes":
		body = string(rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "bytes"))
	}
	switch {
	case rapid.Bool().Draw(t, "chunked"):
		fields = append(fields, "Transfer-Encoding: chunked")
		if body != "" {
			body = fmt.Sprintf("%x\r\n%s\r\n", len(body), body)
		}
		body += "0\r\n\r\n"
	case body != "":
		fields = append(fields, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	method := rapid.SampledFrom([]string{http.MethodPost, http.MethodPut, http.MethodDelete}).Draw(t, "method")
	return method + " " + target + " HTTP/1.1\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n" + body, secrets
}

// TestNoExportHasASecretAndEveryExportIsReplayedAsItCame : what is shown masked and sent again unchanged is the same request.
func TestNoExportHasASecretAndEveryExportIsReplayedAsItCame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw, secrets := anyRequest(t)
		d := &debuggee{}
		l := requests.New(requests.Options{Replay: d.replay})
		come(l, raw, ok)
		e, _ := l.Entry(1, requests.Masked)
		for _, form := range requests.Forms() {
			text, _ := e.Export(form)
			for _, s := range secrets {
				if strings.Contains(text, s) {
					t.Fatalf("%s has %s: %s", form, s, text)
				}
			}
		}
		r, err := l.Replay(1, e.HTTP())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		want, got := parsed(t, raw), parsed(t, d.got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-sent +replayed):\n%s", diff)
		}
	})
}

// parsed is what a server makes of a request; framing fields may stand elsewhere.
func parsed(t *rapid.T, raw string) map[string]any {
	r, err := http1.ParseRequest([]byte(raw))
	if err != nil || r == nil {
		t.Fatalf("%q: %v", raw, err)
	}
	fields := map[string][]string{}
	for _, f := range r.Fields {
		fields[f.Name] = append(fields[f.Name], f.Value)
	}
	return map[string]any{"method": r.Method, "target": r.Target, "fields": fields, "body": raw[len(r.Raw):]}
}
