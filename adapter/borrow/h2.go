package borrow

import "fmt"

// sayNotHTTP2 tells the person, once for each port, that the debuggee does not speak HTTP/2 where its clients and the target do.
func (b *Borrow) sayNotHTTP2(port uint16, err error) {
	if _, told := b.h2Told.LoadOrStore(port, true); told {
		return
	}
	local, _ := b.tunnel.Port(port)
	b.say(fmt.Sprintf("a client of port %d speaks HTTP/2 and the program does not on its port %d (%v), so the target answers such requests; "+
		"let the program serve HTTP/2 without TLS (h2c), as the target does", port, local, err))
}
