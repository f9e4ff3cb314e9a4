// Goserver serves HTTP at its argument and tells each client its address and the server's.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
)

func main() {
	err := http.ListenAndServe(os.Args[1], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s at %s", r.RemoteAddr, r.Context().Value(http.LocalAddrContextKey).(net.Addr))
	}))
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
