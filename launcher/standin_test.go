//go:build linux

package launcher

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"podstep.dev/launcher/rules"
)

const (
	standInEnv = "PODSTEP_TEST_STAND_IN"
	uniqueEnv  = "PODSTEP_TEST_UNIQUE"
)

// spec says what a stand-in adapter does: it listens for launchers in Dir, and runs Argv below a keeper if there is one.
type spec struct {
	Dir         string
	Argv        []string
	Intercepted bool
	Traced      bool
	Foreground  bool
	// Blind takes from the adapter every way to look into another process, as Yama does for those that are not below it.
	Blind bool
	// Misplaced makes the adapter take every launcher for one below it.
	Misplaced bool
	// Run makes it like `podstep run`: argv are its arguments, it is silent and ends as the program ended.
	Run bool
	// Out gets the tree's output. If empty, the stand-in's standard error.
	Out string
}

// said is one line that a stand-in says; one field is set.
type said struct {
	Command   []string    `json:",omitempty"`
	Pid       int         `json:",omitempty"`
	Keeper    int         `json:",omitempty"`
	Listening uint16      `json:",omitempty"`
	Started   int         `json:",omitempty"`
	Body      *string     `json:",omitempty"`
	Exited    *ExitStatus `json:",omitempty"`
	Error     string      `json:",omitempty"`
}

// standIn is the process that stands in for podstep. Its standard input is commands: "deliver PORT", "signal N";
// its end is an orderly goodbye.
func standIn(raw string) int {
	var s spec
	if err := json.Unmarshal([]byte(raw), &s); err != nil {
		panic(err)
	}
	// The main thread cannot end, so a probe of the kernel that ran on it would leave its filter in the way of goBlind.
	runtime.LockOSThread()
	_ = os.Unsetenv(standInEnv)
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	say := func(w said) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(w)
	}
	if s.Run {
		status, err := s.run(context.Background())
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		status.Exit()
	}
	if err := s.serve(context.Background(), say); err != nil {
		say(said{Error: err.Error()})
		return 1
	}
	return 0
}

func (s spec) listen(ctx context.Context, link *memoryLink, say func(said)) (*Host, error) {
	return Listen(ctx, s.Dir, Options{
		Plan: Plan{
			Hostname:  "web-0",
			Addresses: []netip.Addr{podSelf},
			Rules:     rules.Config{TCP: true, DNS: true},
			Env:       map[string]string{"FROM_POD": "yes"},
		},
		Link:      link,
		Listening: func(_ context.Context, port uint16) { say(said{Listening: port}) },
		Started:   func(pid int) { say(said{Started: pid}) },
	})
}

func (s spec) run(ctx context.Context) (ExitStatus, error) {
	link := newMemoryLink()
	defer link.end()
	host, err := s.listen(ctx, link, func(said) {})
	if err != nil {
		return ExitStatus{}, err
	}
	defer host.Close()
	tree, err := Start(ctx, Process{
		Argv:       host.Command(os.Args[1:], How{}),
		Stdin:      os.Stdin,
		Stdout:     os.Stdout,
		Stderr:     os.Stderr,
		Foreground: s.Foreground,
	})
	if err != nil {
		return ExitStatus{}, err
	}
	defer tree.Kill()
	return tree.Wait()
}

func (s spec) serve(ctx context.Context, say func(said)) error {
	link := newMemoryLink()
	defer link.end()
	host, err := s.listen(ctx, link, say)
	if err != nil {
		return err
	}
	defer host.Close()
	if s.Blind {
		if err := goBlind(); err != nil {
			return err
		}
	}
	if s.Misplaced {
		host.below = func(peer) bool { return true }
	}
	say(said{Command: host.Command(nil, How{Traced: s.Traced})})
	var tree *Tree
	if len(s.Argv) > 0 {
		if tree, err = s.start(ctx, host, say); err != nil {
			return err
		}
		defer tree.Kill()
	}
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		verb, arg, _ := strings.Cut(commands.Text(), " ")
		n, _ := strconv.Atoi(arg)
		switch verb {
		case "deliver":
			body, err := request(ctx, host, uint16(n))
			if err != nil {
				body = err.Error()
			}
			say(said{Body: &body})
		case "signal":
			if err := tree.Signal(syscall.Signal(n)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s spec) start(ctx context.Context, host *Host, say func(said)) (*Tree, error) {
	argv := s.Argv
	if s.Intercepted {
		argv = host.Command(argv, How{Traced: s.Traced})
	}
	out := os.Stderr
	if s.Out != "" {
		f, err := os.Create(s.Out)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		out = f
	}
	tree, err := Start(ctx, Process{Argv: argv, SessionDir: s.Dir, Stdout: out, Stderr: out, Foreground: s.Foreground})
	if err != nil {
		return nil, err
	}
	say(said{Pid: tree.Pid(), Keeper: tree.keeper.Process.Pid})
	go func() {
		status, err := tree.Wait()
		if err != nil {
			say(said{Error: err.Error()})
		}
		say(said{Exited: &status})
	}()
	return tree, nil
}

var (
	client  = netip.MustParseAddrPort("203.0.113.9:4321")
	podPort = func(port uint16) netip.AddrPort { return netip.AddrPortFrom(podSelf, port) }
)

// request delivers one GET and returns the body of the answer.
func request(ctx context.Context, host *Host, port uint16) (string, error) {
	conn, err := host.Deliver(ctx, port, client, podPort(port))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /hello HTTP/1.0\r\nHost: pod\r\n\r\n"); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(body)), err
}
