// Command pod plays the target of the editor test: the shop and what it needs in a pod of this machine, and a client in the same
// pod that asks it several times a second. It prints "pid N", the shop's process, and a line "answer ..." for each answer the
// client gets. It ends, with all of the pod, when its standard input does.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"podstep.dev/internal/testkit/pod"
)

// The pod's addresses: private (RFC 1918), and known in the pod only.
var (
	shopAddress   = netip.MustParseAddr("10.42.0.7")
	stockAddress  = netip.MustParseAddr("10.42.0.8")
	clientAddress = netip.MustParseAddr("10.42.0.99")
)

const (
	// clientWord as the argument makes the program the pod's client.
	clientWord = "client"
	url        = "http://shop/cart/42"
	interval   = 200 * time.Millisecond
)

func main() {
	pod.Main()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pod:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == clientWord:
		return ask(ctx)
	case len(args) != 2:
		return errors.New("usage: pod SHOP STOCK")
	}
	return serve(ctx, args[0], args[1])
}

// serve makes the pod and keeps it until standard input ends.
func serve(ctx context.Context, shop, stock string) (err error) {
	p, err := pod.Start(pod.Options{
		Command:   []string{shop},
		Env:       []string{"ANSWERED_BY=target", "PATH=" + os.Getenv("PATH")},
		Hostname:  "shop-0",
		Addresses: []netip.Addr{shopAddress, stockAddress, clientAddress},
		Names:     map[string]netip.Addr{"shop": shopAddress, "stock": stockAddress},
		Output:    os.Stderr,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	fmt.Println("pid", p.PID())

	stockEnv := []string{"STOCK_ADDRESS=" + netip.AddrPortFrom(stockAddress, 81).String()}
	if _, err := p.Exec(pod.Command{Args: []string{stock}, Env: stockEnv, Stderr: os.Stderr}); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if _, err := p.Exec(pod.Command{Args: []string{self, clientWord}, Stdout: os.Stdout, Stderr: os.Stderr}); err != nil {
		return err
	}
	over := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		over <- err
	}()
	select {
	case <-ctx.Done():
		return nil
	case err := <-over:
		return err
	}
}

// ask asks for url until ctx ends, on a connection of its own each time, and prints what it gets. An answer that takes long does
// not hold up the next request.
func ask(ctx context.Context) error {
	dialer := &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(clientAddress, 0)), Timeout: time.Second}
	client := &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext},
		Timeout:   time.Minute,
	}
	every := time.NewTicker(interval)
	defer every.Stop()
	for {
		go func() { fmt.Println("answer", get(ctx, client)) }()
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
	}
}

// get returns one answer on one line.
func get(ctx context.Context, client *http.Client) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	response, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return err.Error()
	}
	return strings.Join([]string{response.Status, string(bytes.TrimSpace(body))}, " ")
}
