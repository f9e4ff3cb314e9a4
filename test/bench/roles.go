//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"podstep.dev/internal/testkit/pod"
)

// podRun runs role in the pod.
func podRun(p *pod.Pod, self, role string) (string, error) {
	var out bytes.Buffer
	proc, err := p.Exec(pod.Command{Args: []string{self}, Env: []string{roleVar + "=" + role}, Stdout: &out, Stderr: os.Stderr})
	if err != nil {
		return "", err
	}
	if status := proc.Wait(); status.ExitStatus() != 0 {
		return "", fmt.Errorf("role %s: %v", role, status)
	}
	return out.String(), nil
}

// serve PORT... answers GET / with 64 bytes and GET /N with N bytes, until it is ended.
func serve(ports []string) error {
	small := bytes.Repeat([]byte("x"), 64)
	if os.Getenv("BENCH") != "" {
		small[0] = 'd' // the debuggee's; see await
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.URL.Path[1:], 10, 64)
		if err != nil {
			_, _ = w.Write(small)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		chunk := make([]byte, 256<<10)
		for n > 0 {
			k, err := w.Write(chunk[:min(n, int64(len(chunk)))])
			if err != nil {
				return
			}
			n -= int64(k)
		}
	})
	errs := make(chan error)
	for _, text := range ports {
		port, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		l, err := listen(port)
		if err != nil {
			return err
		}
		go func() { errs <- http.Serve(l, handler) }()
	}
	return <-errs
}

// quantiles are of a sorted list of durations.
type quantiles struct{ P50, P99 time.Duration }

func quantilesOf(d []time.Duration) quantiles {
	slices.Sort(d)
	return quantiles{d[len(d)/2], d[len(d)*99/100]}
}

// print prints v as JSON for whoever started the role.
func print(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }

// ask ROUNDS KEEP PATH PORT... asks the pod's ports in turn, on kept connections or new ones, and prints the quantiles of each.
func ask(args []string) error {
	rounds, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	keep, path, ports := args[1] == "kept", args[2], args[3:]
	client := &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{
		DisableKeepAlives: !keep, DisableCompression: true, ReadBufferSize: 256 << 10,
		DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(clientAddress)}}).DialContext,
	}}
	took := make([][]time.Duration, len(ports))
	warm := min(rounds, 20)
	for i := range rounds + warm {
		for p, port := range ports {
			began := time.Now()
			answer, err := client.Get(fmt.Sprintf("http://%s:%s/%s", podAddress, port, path))
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			if err != nil {
				return err
			}
			if i >= warm || rounds < warm {
				took[p] = append(took[p], time.Since(began))
			}
		}
	}
	var result []quantiles
	for _, t := range took {
		result = append(result, quantilesOf(t))
	}
	return print(result)
}

// up PORT... waits until all of them accept connections, for at most 10 s.
func up(ports []string) error {
	for _, port := range ports {
		var err error
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			var conn net.Conn
			if conn, err = net.Dial("tcp4", net.JoinHostPort(podAddress, port)); err == nil {
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

// await PORT asks until the debuggee answers, every millisecond, for at most 30 s.
func await(args []string) error {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		answer, err := client.Get(fmt.Sprintf("http://%s:%s/-", podAddress, args[0]))
		if err != nil {
			continue
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err == nil && bytes.HasPrefix(body, []byte("d")) {
			return nil
		}
	}
	return errors.New("the debuggee never answered")
}

// dial ROUNDS connects to the pod's direct port again and again.
func dial(args []string) error {
	rounds, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var took []time.Duration
	for range rounds {
		began := time.Now()
		conn, err := net.Dial("tcp4", net.JoinHostPort(podAddress, strconv.Itoa(directPort)))
		if err != nil {
			return err
		}
		took = append(took, time.Since(began))
		_ = conn.Close()
	}
	return print([]quantiles{quantilesOf(took)})
}

// names ROUNDS THREADS asks for the name of a unix socket, a call that the interception looks at and continues, in so
// many threads at once, and prints the time of one call.
func names(args []string) error {
	rounds, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	threads, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	began := time.Now()
	for range threads {
		all.Go(func() {
			for range rounds {
				_, _ = unix.Getsockname(fds[0])
			}
		})
	}
	all.Wait()
	each := time.Since(began) / time.Duration(rounds)
	return print([]quantiles{{each, each}})
}
