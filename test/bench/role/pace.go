//go:build linux

package role

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// pace asks at a steady rate for some seconds, on so many kept connections. A request is due at its time, however long the ones before it take:
// its duration counts from there, so that what a stall would have done to clients that do not wait is seen.
func pace(args []string) error {
	if len(args) != 6 {
		return errors.New("want pace RATE SECONDS CONNECTIONS FROM PATH AT")
	}
	var n [3]int
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(args[i]); err != nil {
			return err
		}
	}
	rate, total, connections := n[0], n[0]*n[1], n[2]
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(args[3])}}
	url := "http://" + args[5] + "/" + args[4]
	due := make(chan int, total)
	took, errs := make([]time.Duration, total), make([]error, connections)
	began := time.Now().Add(200 * time.Millisecond) // for the connections
	at := func(i int) time.Time { return began.Add(time.Duration(i) * time.Second / time.Duration(rate)) }
	var all sync.WaitGroup
	for c := range connections {
		all.Go(func() {
			transport := &http.Transport{DialContext: dialer.DialContext, DisableCompression: true}
			defer transport.CloseIdleConnections()
			for i := range due {
				if errs[c] == nil {
					errs[c] = get(transport, url)
					took[i] = time.Since(at(i))
				}
			}
		})
	}
	for i := range total {
		if wait := time.Until(at(i)); wait > 0 {
			<-time.After(wait)
		}
		due <- i
	}
	close(due)
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return print(Loaded{Took: took, All: time.Since(began), Sent: total})
}

func get(transport *http.Transport, url string) error {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", answer.Status)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}
