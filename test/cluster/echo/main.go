// Command echo is a service to look at: it answers each HTTP request at port 8080 with who it is and what it was asked, as JSON.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
)

func main() {
	host, err := os.Hostname()
	if err == nil {
		err = http.ListenAndServe(":8080", answer(host))
	}
	fmt.Fprintln(os.Stderr, "echo:", err)
	os.Exit(1)
}

func answer(host string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"host": host, "method": r.Method, "path": r.URL.Path, "from": r.RemoteAddr}) // the client may be gone
	})
}
