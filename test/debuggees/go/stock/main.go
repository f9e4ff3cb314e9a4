// Command stock is the service that the shop asks: GET /price/{id} answers with a number of cents.
package main

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("GET /price/{id}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, 100*len(r.PathValue("id")))
	})
	address := cmp.Or(os.Getenv("STOCK_ADDRESS"), ":81")
	if err := http.ListenAndServe(address, nil); err != nil {
		fmt.Fprintln(os.Stderr, "stock:", err)
		os.Exit(1)
	}
}
