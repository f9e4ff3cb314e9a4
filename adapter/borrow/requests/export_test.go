package requests_test

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/adapter/borrow/requests"
)

func entry(t *testing.T, request, response string) requests.Entry {
	t.Helper()
	l := requests.New(requests.Options{})
	e, found := l.Entry(come(l, request, response), requests.Plain)
	if !found {
		t.Fatal("not kept")
	}
	return e
}

const post = "POST /pay?x=%20 HTTP/1.1\r\nHost: shop:8080\r\nContent-Type: text/plain\r\nX-Empty:\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nit's\n1\r\n0\r\n\r\n"

func TestHTTPFile(t *testing.T) {
	text := entry(t, post, ok).HTTP()
	title, text, _ := strings.Cut(text, "\n")
	if !strings.HasPrefix(title, "### request 1 of ") || !strings.HasSuffix(title, " from 10.42.0.9:4711") {
		t.Errorf("title %q", title)
	}
	want := "POST /pay?x=%20 HTTP/1.1\nHost: shop:8080\nContent-Type: text/plain\nX-Empty: \n\nit's\n1\n"
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestCurlSaysTheSameToAShell lets a shell read the command line.
func TestCurlSaysTheSameToAShell(t *testing.T) {
	for name, test := range map[string]struct {
		request string
		args    []string
		stdin   string
	}{
		"get": {"GET /a?b=c&d=$(x) HTTP/1.1\r\nHost: shop\r\nUser-Agent: t\r\nAccept: */*\r\nX-A: `x` $x \"x\" 'x' \\\r\n\r\n",
			[]string{"http://shop/a?b=c&d=$(x)", "-H", "User-Agent: t", "-H", "Accept: */*", "-H", "X-A: `x` $x \"x\" 'x' \\"}, ""},
		"post": {post, []string{"http://shop:8080/pay?x=%20", "-H", "Content-Type: text/plain", "-H", "X-Empty;", "-H", "User-Agent:", "-H", "Accept:", "--data-raw", "it's\n1"}, ""},
		"put binary": {"PUT /[1] HTTP/1.0\r\nHost: shop\r\nUser-Agent: t\r\nAccept: x\r\nContent-Length: 6\r\n\r\n\x00\xff'%\\n",
			[]string{"-X", "PUT", "--globoff", "http://shop/[1]", "--http1.0", "-H", "User-Agent: t", "-H", "Accept: x", "-H", "Content-Type:", "--data-binary", "@-"}, "\x00\xff'%\\n"},
		"head": {"HEAD /../x HTTP/1.0\r\nUser-Agent: t\r\nAccept: x\r\nAccept-Encoding: gzip\r\n\r\n",
			[]string{"--head", "--path-as-is", "http://localhost:80/../x", "--http1.0", "-H", "User-Agent: t", "-H", "Accept: x", "-H", "Accept-Encoding: gzip", "--compressed"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			line := entry(t, test.request, ok).Curl()
			var out, errs bytes.Buffer
			sh := exec.CommandContext(t.Context(), "sh", "-c", `curl() { for a; do printf '%s\0' "$a"; done; printf '\0'; cat; }; `+line)
			sh.Stdout, sh.Stderr = &out, &errs
			if err := sh.Run(); err != nil || errs.Len() > 0 {
				t.Fatalf("%s: %v %s", line, err, errs.String())
			}
			args, stdin, _ := strings.Cut(out.String(), "\x00\x00")
			if diff := cmp.Diff(test.args, strings.Split(args, "\x00")); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			if stdin != test.stdin {
				t.Errorf("input %q, want %q", stdin, test.stdin)
			}
		})
	}
}
