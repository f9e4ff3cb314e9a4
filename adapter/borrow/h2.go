package borrow

import (
	"fmt"

	"podstep.dev/adapter/config"
)

// sayNotHTTP2 tells the person, once for each port, that the debuggee does not speak HTTP/2 where its clients and the target do.
func (b *Borrow) sayNotHTTP2(port uint16, err error) {
	if _, told := b.h2Told.LoadOrStore(port, true); told {
		return
	}
	local, _ := b.tunnel.Port(port)
	so := "the target answers such requests"
	if b.mirror.Incoming.Mode == config.ModeMirror {
		so = "it gets no copies of such requests"
	}
	b.say(fmt.Sprintf("a client of port %d speaks HTTP/2 and the program does not on its port %d (%v), so %s; "+
		"let the program serve HTTP/2 without TLS (h2c), as the target does", port, local, err, so))
}
