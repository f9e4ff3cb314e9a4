// Calls makes system calls for a benchmark: it reads lines "NAME COUNT", makes COUNT calls of NAME, and answers each line
// with how many nanoseconds they took. Its argument is the address for "connect"; with "serve" it is the server there.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"time"
)

func main() {
	if os.Args[1] == "serve" {
		serve()
		return
	}
	runtime.LockOSThread()
	to := netip.MustParseAddrPort(os.Args[1])
	sa := &syscall.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	own, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	check(err)
	calls := map[string]func(){
		"getppid":     func() { _, _, _ = syscall.Syscall(syscall.SYS_GETPPID, 0, 0, 0) },
		"getsockname": func() { _, err := syscall.Getsockname(own); check(err) },
		"connect": func() {
			fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
			check(err)
			check(syscall.Connect(fd, sa))
			check(syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1}))
			check(syscall.Close(fd))
		},
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var name string
		var n int
		_, err := fmt.Sscan(in.Text(), &name, &n)
		check(err)
		call := calls[name]
		start := time.Now()
		for range n {
			call()
		}
		fmt.Println(time.Since(start).Nanoseconds())
	}
}

// serve accepts connections and drops them at their end, until its input ends.
func serve() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Println(l.Addr())
	go func() {
		for {
			c, err := l.Accept()
			check(err)
			go func() {
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
