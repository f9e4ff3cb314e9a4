package visit

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

// cart is the shop's answer, as far as visitors look at it.
type cart struct {
	AnsweredBy string `json:"answeredBy"`
	Hostname   string `json:"hostname"`
	Client     string `json:"client"`
	Price      int    `json:"price"`
}

// Tally answers like the shop, without asking anybody for the price, and notes which carts it was asked for. GET /seen answers with
// their numbers as JSON, in order, one that was asked for twice two times.
type Tally struct {
	// By is who answers.
	By string

	mu   sync.Mutex
	seen []int
}

// Handler serves it.
func (t *Tally) Handler() http.Handler {
	var mux http.ServeMux
	mux.HandleFunc("POST /cart/{id}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("id"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		t.mu.Lock()
		t.seen = append(t.seen, n)
		t.mu.Unlock()
		t.answer(w, r)
	})
	mux.HandleFunc("GET /cart/{id}", t.answer) // a customer's, whose numbers are its own
	mux.HandleFunc("GET /takes/{duration}/cart/{id}", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.PathValue("duration"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		<-time.After(d) // like a service that asks others
		t.answer(w, r)
	})
	mux.HandleFunc("GET /seen", func(w http.ResponseWriter, _ *http.Request) {
		t.mu.Lock()
		seen := append([]int{}, t.seen...)
		t.mu.Unlock()
		slices.Sort(seen)
		_ = json.NewEncoder(w).Encode(seen)
	})
	return &mux
}

func (t *Tally) answer(w http.ResponseWriter, r *http.Request) {
	hostname, _ := os.Hostname()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(cart{AnsweredBy: t.By, Hostname: hostname, Client: r.RemoteAddr})
}
