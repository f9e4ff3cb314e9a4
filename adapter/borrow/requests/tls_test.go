package requests_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/internal/wire"
)

// TestRequestOverTLSIsShownSo : wherever a request has a URL, and its replays too.
func TestRequestOverTLSIsShownSo(t *testing.T) {
	l := requests.New(requests.Options{Replay: func(context.Context, uint16, []byte, *requests.Recording) error { return nil }})
	rec := l.Begin(wire.Header{Kind: wire.KindRequest, Port: 8443, Protocol: wire.HTTP1, TLS: &wire.Secured{ServerName: "shop", Protocol: "http/1.1"}})
	rec.Request([]byte("GET /cart HTTP/1.1\r\nHost: shop:8443\r\n\r\n"))
	rec.End(nil)
	replay, err := l.Replay(1, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []uint64{1, replay.ID} {
		e, _ := l.Entry(id, requests.Plain)
		if !e.TLS || e.URL() != "https://shop:8443/cart" {
			t.Errorf("%d: TLS %v, %s", id, e.TLS, e.URL())
		}
		if curl := e.Curl(); !strings.HasPrefix(curl, "curl https://shop:8443/cart ") || strings.Contains(curl, "Host:") {
			t.Errorf("%d: %s", id, curl)
		}
		if title, _, _ := strings.Cut(e.HTTP(), "\n"); !strings.Contains(title, "https://shop:8443/cart") {
			t.Errorf("%d: %s", id, title)
		}
		var har struct {
			Log struct {
				Entries []struct{ Request struct{ URL string } }
			}
		}
		text, _ := e.Export(requests.AsHAR)
		if err := json.Unmarshal([]byte(text), &har); err != nil || har.Log.Entries[0].Request.URL != "https://shop:8443/cart" {
			t.Errorf("%d: %v, %s", id, err, text)
		}
	}
}
