// Goclient gets each URL of its arguments and prints the body or the error's last words, then its hostname.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	for _, url := range os.Args[1:] {
		res, err := http.Get(url)
		if err != nil {
			words := strings.Split(err.Error(), ": ")
			fmt.Println(words[len(words)-1])
			continue
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		fmt.Println(string(body))
	}
	name, _ := os.Hostname()
	fmt.Println("hostname", name)
}
