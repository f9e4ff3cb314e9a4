// Command shop is a small service to step through: GET /cart/{id} answers with a cart, whose price it asks another
// service for, by a name that only its pod knows.
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
)

// Cart is the answer.
type Cart struct {
	ID         string `json:"id"`
	Price      int    `json:"price"` // in cents
	AnsweredBy string `json:"answeredBy"`
	Hostname   string `json:"hostname"`
	Client     string `json:"client"`
}

func main() {
	http.HandleFunc("GET /cart/{id}", serveCart)
	port := cmp.Or(os.Getenv("SHOP_PORT"), "80")
	door, err := net.Listen("tcp", ":"+port)
	if err == nil {
		fmt.Println("the shop is open on port", port)
		var protocols http.Protocols
		protocols.SetHTTP1(true)
		protocols.SetUnencryptedHTTP2(true)
		err = (&http.Server{Protocols: &protocols}).Serve(door)
	}
	fmt.Fprintln(os.Stderr, "shop:", err)
	os.Exit(1)
}

func serveCart(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	client := r.RemoteAddr
	price, err := priceOf(id) // <- the demo's breakpoint
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	hostname, _ := os.Hostname()
	cart := Cart{ID: id, Price: price, AnsweredBy: os.Getenv("ANSWERED_BY"), Hostname: hostname, Client: client}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(cart)
}

// priceOf asks the stock, a service of the same pod.
func priceOf(id string) (cents int, err error) {
	answer, err := http.Get(cmp.Or(os.Getenv("STOCK_URL"), "http://stock:81") + "/price/" + id)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("the stock says %s", answer.Status)
	}
	err = json.NewDecoder(answer.Body).Decode(&cents)
	return cents, err
}
