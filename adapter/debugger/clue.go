package debugger

import "strings"

// Clue says where in a stopped thread's stack a debugger finds the request that the thread works on. What is evaluated reads variables,
// fields and elements and calls nothing: the debuggee must not notice that somebody looked.
type Clue struct {
	// Frame is the name of the frame's function as the debugger shows it, or the beginning of it and "*". If empty, every frame may have it.
	Frame string
	// Peer is the expression for the other end of the connection, the address with the port.
	Peer string
	// Stream and Path are those for the stream of HTTP/2 and for what the client asked for. If empty, they cannot be told, or Peer's value has the
	// path, too.
	Stream, Path string
}

// Common reports whether every frame may have the clue.
func (c Clue) Common() bool { return c.Frame == "" }

// In reports whether the clue is for frames of that name.
func (c Clue) In(frame string) bool {
	beginning, open := strings.CutSuffix(c.Frame, "*")
	if open {
		return strings.HasPrefix(frame, beginning)
	}
	return frame == c.Frame
}

// dlvClues are those of a Go program. The handler's goroutine has the server's frame at its bottom. Fields are read where they stand; of a
// server that was built with optimisations they may not be there, then the handler's own request remains.
func dlvClues() []Clue {
	return []Clue{
		{Frame: "http.(*conn).serve", Peer: "c.remoteAddr", Path: "w.req.RequestURI"},
		{Frame: "http.(*http2serverConn).runHandler", Peer: "sc.remoteAddrStr", Stream: "rw.rws.stream.id", Path: "req.RequestURI"},
		{Frame: "http2.(*serverConn).runHandler", Peer: "sc.remoteAddrStr", Stream: "rw.rws.stream.id", Path: "req.RequestURI"}, // golang.org/x/net
		{Frame: "grpc.(*Server).handleStream", Peer: "t.peer.Addr", Stream: "stream.id", Path: "stream.method"},
		{Peer: "r.RemoteAddr", Path: "r.RequestURI"},
		{Peer: "req.RemoteAddr", Path: "req.RequestURI"},
	}
}

// debugpyClues are those of a Python program. Frames of libraries are not shown with "justMyCode", so each has one in the program's own code.
func debugpyClues() []Clue {
	const (
		handler = `(self.client_address, self.requestline)`
		flask   = `(request.environ["REMOTE_ADDR"], request.environ["REMOTE_PORT"], request.environ["SCRIPT_NAME"] + request.environ["PATH_INFO"])`
		wsgi    = `(environ["REMOTE_ADDR"], environ["REMOTE_PORT"], environ["SCRIPT_NAME"] + environ["PATH_INFO"])`
		wsgiref = `(environ["wsgi.input"].raw._sock, environ["SCRIPT_NAME"] + environ["PATH_INFO"])` // it does not tell the port
	)
	return []Clue{
		{Frame: "do_*", Peer: handler}, // http.server
		{Frame: "handle_one_request", Peer: handler},
		{Peer: flask},
		{Peer: `(request.scope["client"], request.scope["path"])`}, // Starlette
		{Peer: wsgi},
		{Peer: `(scope["client"], scope["path"])`}, // ASGI
		{Peer: wsgiref},
	}
}
