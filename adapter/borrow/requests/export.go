package requests

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Form is how a request is exported.
type Form string

// Forms.
const (
	AsText Form = "text" // request and response for people
	AsHTTP Form = "http" // the request as a .http file
	AsCurl Form = "curl" // the request as a command line
	AsHAR  Form = "har"  // both as an archive
	AsJSON Form = "json" // both as an [Entry]
)

// Forms lists them.
func Forms() []Form { return []Form{AsText, AsHTTP, AsCurl, AsHAR, AsJSON} }

// Export writes the request in a form, and reports whether there is such a form.
func (e Entry) Export(f Form) (string, bool) {
	switch f {
	case AsText:
		return e.Exchange(), true
	case AsHTTP:
		return e.HTTP(), true
	case AsCurl:
		return e.Curl(), true
	case AsHAR:
		return encode(NewHAR([]Entry{e})), true
	case AsJSON:
		return encode(e), true
	}
	return "", false
}

// encode writes JSON for people and programs.
func encode(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("an entry does not encode: %v", err)) // it has nothing but strings, numbers and times of this era
	}
	return b.String()
}

// HTTP writes the request as a .http file has it: RFC 9112 with plain line ends, behind comments that say what it is. [Log.Edited] reads it again. The
// length and the framing of the body are left out: whoever sends it adds what it is then.
func (e Entry) HTTP() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n", e.title())
	if body := e.Request.Body; body.Binary != nil {
		fmt.Fprintf(&b, "# The body of %d bytes is no text and is not here.\n", body.Size)
	} else if body.Cut {
		fmt.Fprintf(&b, "# Only the beginning of the body of %d bytes is here.\n", body.Size)
	}
	b.WriteString(e.Request.text())
	return b.String()
}

// Exchange writes the request and the response for people to read.
func (e Entry) Exchange() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s", e.title(), e.Request)
	if e.Response != nil {
		fmt.Fprintf(&b, "\n%s", e.Response)
	}
	fmt.Fprintf(&b, "\n# %s\n", e.fate())
	return b.String()
}

// title says which request it is.
func (e Entry) title() string {
	title := fmt.Sprintf("request %d of %s", e.ID, e.Came.Format(time.RFC3339Nano))
	if e.TLS {
		title += " to " + e.URL()
	}
	if e.Peer.IsValid() {
		title += " from " + e.Peer.String()
	}
	if e.ReplayOf != 0 {
		title += fmt.Sprintf(", a replay of %d", e.ReplayOf)
	}
	return title
}

// fate says what became of it.
func (s Summary) fate() string {
	words := "it went nowhere yet"
	if s.Went != "" {
		words = "it went to " + s.Went
		switch s.Went {
		case Nobody:
			words = "podstep answered it"
		case Held, Delayed:
			words = "it waits"
		}
	}
	if s.Why != "" {
		words += ": " + s.Why
	}
	switch {
	case s.Failed != "":
		words += fmt.Sprintf("; after %.1f ms it ended with: %s", s.Took, s.Failed)
	case s.Done:
		words += fmt.Sprintf("; the answer began after %.1f ms and was over after %.1f ms", s.FirstByte, s.Took)
	default:
		words += "; it is not over"
	}
	return words
}

// framing are the fields that say how a body was sent, not what it is.
func (m Message) framing(name string) bool {
	switch strings.ToLower(name) {
	case "content-length", "transfer-encoding", "trailer":
		return true
	case "content-encoding":
		return m.Body.Coding != ""
	}
	return false
}

// text is a message with plain line ends, without what says how its body was sent.
func (m Message) text() string {
	var b strings.Builder
	b.WriteString(m.Line + "\n")
	for _, f := range m.Fields {
		if !m.framing(f.Name) {
			b.WriteString(f.Name + ": " + f.Value + "\n")
		}
	}
	if m.Body.Text != "" {
		b.WriteString("\n" + m.Body.Text + "\n")
	}
	return b.String()
}

// String is a message with all that was sent, for people to read at a terminal.
func (m Message) String() string {
	var b strings.Builder
	b.WriteString(m.Line + "\n")
	for _, f := range m.Fields {
		b.WriteString(f.Name + ": " + strings.Map(harmless, f.Value) + "\n")
	}
	switch body := m.Body; {
	case body.Binary != nil:
		fmt.Fprintf(&b, "\n(%d bytes that are no text)\n", body.Size)
	case body.Text != "":
		b.WriteString("\n" + strings.TrimSuffix(body.Text, "\n") + "\n")
		if body.Cut {
			fmt.Fprintf(&b, "(cut: %d bytes came in all)\n", body.Size)
		}
	}
	if len(m.Trailers) > 0 {
		b.WriteString("\n# behind the body\n")
	}
	for _, f := range m.Trailers {
		b.WriteString(f.Name + ": " + strings.Map(harmless, f.Value) + "\n")
	}
	return b.String()
}

// harmless drops what a terminal may take for an order.
func harmless(r rune) rune {
	if r >= 0x7f && r < 0xa0 {
		return -1
	}
	return r
}

func (e Entry) scheme() string {
	if e.TLS {
		return "https://"
	}
	return "http://"
}

// URL is where the request was sent to, as its sender wrote it.
func (e Entry) URL() string {
	target := e.Request.target()
	if strings.Contains(target, "://") {
		return target
	}
	host := e.Request.Value("Host")
	if host == "" {
		host = fmt.Sprintf("localhost:%d", e.Port)
	}
	if !strings.HasPrefix(target, "/") {
		target = "/" // OPTIONS *, CONNECT
	}
	return e.scheme() + host + target
}
