//go:build linux

package role

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// User is the header that load sends the user's name in.
const User = "X-User"

// H2 before an address asks over HTTP/2 with prior knowledge: as many streams of one connection at once as connections are said.
const H2 = "h2:"

// Loaded is how a load went.
type Loaded struct {
	// Took is of each request, until the whole answer was there.
	Took []time.Duration
	// All is from the first request's beginning to the last one's end.
	All time.Duration
	// Sent is how many were asked, by pace.
	Sent int
}

// load asks on so many kept connections at once. The first request on each is left out.
func load(args []string) error {
	if len(args) != 6 {
		return errors.New("want load ROUNDS CONNECTIONS FROM PATH AT USER")
	}
	rounds, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	connections, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(args[2])}}
	transport := &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a certificate of this run
		DisableCompression: true, ReadBufferSize: block, MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}
	if at, ok := strings.CutPrefix(args[4], H2); ok {
		args[4] = at
		transport.Protocols = &http.Protocols{}
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	one := func() error {
		r, err := http.NewRequest(http.MethodGet, urlOf(args[4])+"/"+args[3], nil)
		if err != nil {
			return err
		}
		if args[5] != "-" {
			r.Header.Set(User, args[5])
		}
		answer, err := transport.RoundTrip(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("answered %s", answer.Status)
		}
		_, err = io.Copy(io.Discard, answer.Body)
		return err
	}
	if _, err := atOnce(connections, connections, one); err != nil {
		return err
	}
	began := time.Now()
	took, err := atOnce(connections, rounds, one)
	if err != nil {
		return err
	}
	return print(Loaded{Took: took, All: time.Since(began)})
}

// urlOf is that of an address, which may be one.
func urlOf(at string) string {
	if strings.Contains(at, "://") {
		return at
	}
	return "http://" + at
}

// atOnce does something so often, in so many goroutines, and says how long each took.
func atOnce(goroutines, rounds int, do func() error) ([]time.Duration, error) {
	var all sync.WaitGroup
	var next atomic.Int64
	took, errs := make([]time.Duration, rounds), make([]error, goroutines)
	for i := range errs {
		all.Go(func() {
			for errs[i] == nil {
				n := int(next.Add(1)) - 1
				if n >= rounds {
					return
				}
				began := time.Now()
				errs[i] = do()
				took[n] = time.Since(began)
			}
		})
	}
	all.Wait()
	return took, errors.Join(errs...)
}
