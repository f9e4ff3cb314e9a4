//go:build linux

package role

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// ask asks in turn, so that whatever else the machine does hits all alike.
func ask(args []string) error {
	if len(args) < 5 {
		return errors.New("want ask ROUNDS kept|new FROM PATH AT, and more of AT")
	}
	rounds, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: args[1] != "kept", DisableCompression: true, ReadBufferSize: block}
	if from := net.ParseIP(args[2]); from != nil {
		transport.DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).DialContext
	}
	path := args[3]
	return inTurn(transport, rounds, args[4:], func(at string) (*http.Request, error) {
		return http.NewRequest(http.MethodGet, "http://"+at+"/"+path, nil)
	})
}

// send sends in turn.
func send(args []string) error {
	if len(args) < 3 {
		return errors.New("want send ROUNDS SIZE AT, and more of AT")
	}
	rounds, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	size, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	return inTurn(&http.Transport{WriteBufferSize: block}, rounds, args[2:], func(at string) (*http.Request, error) {
		request, err := http.NewRequest(http.MethodPost, "http://"+at+"/-", io.LimitReader(zeros{}, size))
		if err == nil {
			request.ContentLength = size
		}
		return request, err
	})
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// inTurn makes requests and prints how long they took until the whole answer was there. Of many, the first are left out.
func inTurn(transport *http.Transport, rounds int, ats []string, request func(at string) (*http.Request, error)) error {
	client := &http.Client{Timeout: 2 * time.Minute, Transport: transport}
	took := map[string][]time.Duration{}
	warm := min(rounds/2, 20)
	for i := range rounds + warm {
		for _, at := range ats {
			r, err := request(at)
			if err != nil {
				return err
			}
			began := time.Now()
			answer, err := client.Do(r)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			if err != nil {
				return err
			}
			if i >= warm {
				took[at] = append(took[at], time.Since(began))
			}
		}
	}
	var result [][]time.Duration
	for _, at := range ats {
		result = append(result, took[at])
	}
	return print(result)
}

// up waits for at most 10 s.
func up(ats []string) error {
	for _, at := range ats {
		var err error
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			var conn net.Conn
			if conn, err = net.Dial("tcp4", at); err == nil {
				_ = conn.Close()
				break
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// await asks every millisecond, for at most 30 s, and prints the end of the first answer in nanoseconds since 1970.
func await(args []string) error {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		answer, err := client.Get(fmt.Sprintf("http://%s/-", args[0]))
		if err != nil {
			continue
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err == nil && bytes.HasPrefix(body, []byte("d")) {
			return print(time.Now().UnixNano())
		}
	}
	return errors.New("the debuggee never answered")
}
