// Command table is a small service whose guests wait for each other: requests are answered when three are there. It speaks HTTP/1 and, with
// prior knowledge, HTTP/2.
package main

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
)

// empty are the seats that nobody has taken.
var empty sync.WaitGroup

func main() {
	empty.Add(3)
	s := &http.Server{Handler: http.HandlerFunc(serve), Protocols: &http.Protocols{}}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	l, err := net.Listen("tcp", ":"+cmp.Or(os.Getenv("TABLE_PORT"), "80"))
	if err == nil {
		fmt.Println("the table is set")
		err = s.Serve(l)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func serve(w http.ResponseWriter, r *http.Request) {
	guest := r.Header.Get("X-Request-Id")
	empty.Done()
	empty.Wait()
	fmt.Fprintln(w, os.Getenv("ANSWERED_BY"), guest) // <- all are there
	paid := make(chan bool)
	go func() {
		pay(guest)
		paid <- true
	}()
	<-paid
}

// pay knows the guest and not the request.
func pay(guest string) {
	fmt.Println("paid by", guest) // <- in a goroutine of the handler's
}
