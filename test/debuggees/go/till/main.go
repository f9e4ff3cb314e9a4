// Command till is a small service that notes what it gets: a line in the file $TILL_BOOK for every request that is delivered to it, with
// its X-Request-Id. It answers with the name $ANSWERED_BY, after ?slow=DURATION if that is asked for.
package main

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", serve)
	if err := http.ListenAndServe(":"+cmp.Or(os.Getenv("TILL_PORT"), "80"), nil); err != nil {
		fmt.Fprintln(os.Stderr, "till:", err)
		os.Exit(1)
	}
}

func serve(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Request-Id")
	if err := note(r.Method + " " + id); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	name := os.Getenv("ANSWERED_BY") // <- the tests' breakpoint
	if r.FormValue("hangs") == name {
		<-r.Context().Done()
		return
	}
	fmt.Fprintln(w, name)
}

// note appends a line, whole among those of others.
func note(line string) error {
	book, err := os.OpenFile(os.Getenv("TILL_BOOK"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer book.Close()
	_, err = fmt.Fprintln(book, line)
	return err
}
