// Command visitor is what the tests in a cluster run in pods of their own, beside the shop: a customer, a resolver, and an eye
// on what is left of a session in a pod.
//
//	visitor ask URL EVERY [WHO]
//	                           ask the shop at URL again and again, a line of JSON for each request; for that party
//	visitor get URL [WHO]      print what is answered there; to that party
//	visitor load get|post URL N CONNECTIONS WHO...
//	                           make N requests there (h2c://... is HTTP/2, on one connection), for the parties in turn ("-" is none), and print as JSON how it went
//	visitor resolve NAME...    print a line of JSON for each name
//	visitor env                print the environment and the hostname as JSON
//	visitor tally PORT WHO [CERT KEY]
//	                           answer like the shop, as that party, and note for what; over TLS with the certificate in these files
//	visitor serve PORTS TEXT   answer every HTTP request with the text, at PORT,PORT,...
//	visitor crowd N URL WHO... ask at all URLs at once until WHO has answered there N times, and print as JSON how it went
//	visitor fail PORT          answer every HTTP request with an error
//	visitor look UID           print what runs in the pod of that UID and which packet filter tables it has, as JSON; needs
//	                           the node's processes and every privilege
//	visitor signal NAME PID    send KILL, STOP, CONT or TERM to a process of the node
//	visitor exhaust PID        take memory in the process's cgroup until the kernel kills that process
//	visitor wait               do nothing until SIGTERM
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"podstep.dev/internal/testkit/visit"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "visitor:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case (len(args) == 3 || len(args) == 4) && args[0] == "ask":
		every, err := time.ParseDuration(args[2])
		if err != nil {
			return err
		}
		return visit.Customer{URL: args[1], Every: every, Party: strings.Join(args[3:], "")}.Run(ctx, os.Stdout)
	case (len(args) == 2 || len(args) == 3) && args[0] == "get":
		return get(ctx, args[1], strings.Join(args[2:], ""))
	case len(args) > 5 && args[0] == "load":
		return load(ctx, args[1] == "get", args[2], args[3], args[4], args[5:])
	case (len(args) == 3 || len(args) == 5) && args[0] == "tally":
		return serve(ctx, args[1], (&visit.Tally{By: args[2]}).Handler().ServeHTTP, args[3:]...)
	case len(args) > 1 && args[0] == "resolve":
		return resolve(ctx, args[1:])
	case len(args) == 1 && args[0] == "env":
		hostname, err := os.Hostname()
		return errors.Join(err, json.NewEncoder(os.Stdout).Encode(map[string]any{"hostname": hostname, "env": os.Environ()}))
	case len(args) == 3 && args[0] == "serve":
		return serve(ctx, args[1], func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, args[2]) })
	case len(args) == 2 && args[0] == "fail":
		return serve(ctx, args[1], func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "on purpose", http.StatusInternalServerError)
		})
	case len(args) == 2 && args[0] == "look":
		seen, err := look(args[1])
		return errors.Join(err, json.NewEncoder(os.Stdout).Encode(seen))
	case len(args) == 3 && args[0] == "signal":
		return send(args[1], args[2])
	case len(args) == 2 && args[0] == "exhaust":
		pid, err := strconv.Atoi(args[1])
		return errors.Join(err, exhaust(pid))
	case len(args) > 3 && len(args)%2 == 0 && args[0] == "crowd":
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		return crowd(ctx, n, args[2:])
	case len(args) == 1 && args[0] == "wait":
		<-ctx.Done()
		return nil
	}
	return fmt.Errorf("unknown arguments %q", args)
}

// serve answers on ports until ctx ends, over TLS if there are files of a certificate and its key.
func serve(ctx context.Context, ports string, answer http.HandlerFunc, files ...string) error {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: answer, Protocols: &protocols}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	errs := make(chan error)
	for port := range strings.SplitSeq(ports, ",") {
		l, err := net.Listen("tcp", ":"+port)
		if err != nil {
			return err
		}
		go func() {
			if len(files) == 2 {
				errs <- server.ServeTLS(l, files[0], files[1])
				return
			}
			errs <- server.Serve(l)
		}()
	}
	return <-errs
}

func send(name, pid string) error {
	signals := map[string]syscall.Signal{"KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT, "TERM": syscall.SIGTERM}
	n, err := strconv.Atoi(pid)
	if sig, known := signals[name]; err == nil && n > 1 && known {
		return syscall.Kill(n, sig)
	}
	return fmt.Errorf("no signal %s to process %s", name, pid)
}

func load(ctx context.Context, get bool, url, requests, connections string, parties []string) error {
	n, err := strconv.Atoi(requests)
	if err != nil {
		return err
	}
	at, err := strconv.Atoi(connections)
	if err != nil {
		return err
	}
	for i, party := range parties {
		parties[i] = strings.TrimPrefix(party, "-")
	}
	return json.NewEncoder(os.Stdout).Encode(visit.Load{URL: url, Requests: n, Connections: at, Parties: parties, Get: get}.Run(ctx))
}

func get(ctx context.Context, url, party string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if party != "" {
		q.Header.Set(visit.PartyHeader, party)
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}

// Name is what resolving one came to.
type Name struct {
	Name      string
	Addresses []string // sorted
	NotFound  bool     // the server said so
	Error     string
}

func resolve(ctx context.Context, names []string) error {
	for _, name := range names {
		answer := Name{Name: name}
		addresses, err := net.DefaultResolver.LookupHost(ctx, name)
		if err != nil {
			answer.Error = err.Error()
		}
		var failure *net.DNSError
		answer.NotFound = errors.As(err, &failure) && failure.IsNotFound
		slices.Sort(addresses)
		answer.Addresses = slices.DeleteFunc(addresses, func(a string) bool { return strings.Contains(a, ":") })
		if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
			return err
		}
	}
	return nil
}
