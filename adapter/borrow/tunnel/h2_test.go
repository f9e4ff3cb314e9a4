package tunnel

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
)

// variousH2 says what it was asked.
func variousH2(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	w.Header().Set("Trailer", "X-Sum")
	fmt.Fprintf(w, "%s %s %s %d %v", r.Proto, r.Method, r.URL, n, err)
	w.Header().Set("X-Sum", fmt.Sprint(n, r.Trailer.Get("X-Check")))
}

func TestRequestsOfHTTP2ShareAConnection(t *testing.T) {
	tn := &Tunnel{}
	d := servedH2(t, variousH2)
	a := connect(t, tn, d)
	a.askH2(1, h2request("GET", "/a"), nil).answered(t, "200", "HTTP/2.0 GET /a 0 <nil>")
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			body := bytes.Repeat([]byte("x"), i*50_000)
			o := a.askH2(1, h2request("POST", "/b"), body)
			o.answered(t, "200", fmt.Sprintf("HTTP/2.0 POST /b %d <nil>", len(body)))
			if got := o.value("x-sum"); got != fmt.Sprint(len(body)) {
				t.Errorf("trailer %q of %v", got, o)
			}
		})
	}
	group.Wait()
	if n := d.conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	a.askH2(2, h2request("GET", "/c"), nil).answered(t, "200", "HTTP/2.0 GET /c 0 <nil>")
	if n := d.conns.Load(); n != 2 {
		t.Errorf("%d connections of two clients", n)
	}
}
