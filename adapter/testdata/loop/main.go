// Command loop counts until it is ended; a breakpoint in visit stops it.
package main

import (
	"fmt"
	"os"
	"time"
)

func visit(count int, name, mine string) int {
	doubled := count * 2
	fmt.Println("visit", count, doubled, name, mine)
	return doubled
}

func main() {
	for count := 1; count < 3000; count++ {
		visit(count, os.Getenv("POD_NAME"), os.Getenv("MINE"))
		time.Sleep(20 * time.Millisecond)
	}
}
