// Package debuggees tests that the services to step through behave alike in every language.
package debuggees_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/internal/testkit"
)

// freePort is a port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// build builds the Go program in dir.
func build(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(dir))
	if out, err := exec.Command("go", "build", "-o", path, "./"+dir).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", dir, err, out)
	}
	return path
}

// serve runs a service until the test ends and waits until it answers at port.
func serve(t *testing.T, port string, env []string, argv ...string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	testkit.Eventually(t, argv[0]+" listens", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
}

func TestShopsAnswerAlike(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3")
	}
	stockPort := freePort(t)
	serve(t, stockPort, []string{"STOCK_ADDRESS=127.0.0.1:" + stockPort}, build(t, "go/stock"))
	for language, argv := range map[string][]string{"go": {build(t, "go/shop")}, "python": {python, "python/shop.py"}} {
		t.Run(language, func(t *testing.T) {
			port := freePort(t)
			serve(t, port, []string{"SHOP_PORT=" + port, "STOCK_URL=http://127.0.0.1:" + stockPort, "ANSWERED_BY=" + language}, argv...)
			hostname, err := os.Hostname()
			if err != nil {
				t.Fatal(err)
			}
			got, client := get(t, "http://127.0.0.1:"+port+"/cart/42")
			want := map[string]any{"id": "42", "price": 200.0, "answeredBy": language, "hostname": hostname, "client": client}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestShopsSayThatTheStockIsAway(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3")
	}
	away := httptest.NewServer(http.NotFoundHandler())
	defer away.Close()
	for language, argv := range map[string][]string{"go": {build(t, "go/shop")}, "python": {python, "python/shop.py"}} {
		t.Run(language, func(t *testing.T) {
			port := freePort(t)
			serve(t, port, []string{"SHOP_PORT=" + port, "STOCK_URL=" + away.URL}, argv...)
			for path, want := range map[string]int{"/cart/42": http.StatusBadGateway, "/": http.StatusNotFound} {
				response, err := http.Get("http://127.0.0.1:" + port + path)
				if err != nil {
					t.Fatal(err)
				}
				_ = response.Body.Close()
				if response.StatusCode != want {
					t.Errorf("%s: %s, want %d", path, response.Status, want)
				}
			}
		})
	}
}

// get returns what url answers, and the address it was asked from.
func get(t *testing.T, url string) (answer map[string]any, from string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			from = conn.LocalAddr().String()
		}
		return conn, err
	}}}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(fmt.Errorf("%s answers %q: %w", url, body, err))
	}
	return answer, from
}
