package requests

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

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
		if s.Went == Nobody {
			words = "podstep answered it"
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
	return b.String()
}

// harmless drops what a terminal may take for an order.
func harmless(r rune) rune {
	if r >= 0x7f && r < 0xa0 {
		return -1
	}
	return r
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
	return "http://" + host + target
}

// Curl writes the request as a command line of a POSIX shell.
func (e Entry) Curl() string {
	if e.Method == "" {
		return fmt.Sprintf(": request %d could not be read\n", e.ID)
	}
	words := []string{"curl"}
	add := func(w ...string) { words = append(words, w...) }
	body := e.Request.Body
	hasBody := body.Text != "" || body.Binary != nil
	switch {
	case e.Method == "HEAD":
		add("--head")
	case e.Method == "GET" && !hasBody, e.Method == "POST" && hasBody:
	default:
		add("-X", quote(e.Method))
	}
	url := e.URL()
	if strings.ContainsAny(url, "[]{}") {
		add("--globoff")
	}
	if strings.Contains(url, "/.") {
		add("--path-as-is")
	}
	add(quote(url))
	if e.Protocol == "HTTP/1.0" {
		add("--http1.0")
	}
	for _, f := range e.Request.Fields {
		switch name := strings.ToLower(f.Name); {
		case e.Request.framing(f.Name), name == "host" && strings.HasPrefix(url, "http://"+f.Value):
		case f.Value == "":
			add("-H", quote(f.Name+";"))
		default:
			add("-H", quote(f.Name+": "+f.Value))
		}
	}
	if strings.Contains(e.Request.Value("Accept-Encoding"), "gzip") {
		add("--compressed")
	}
	for _, name := range e.addedByCurl(hasBody) {
		add("-H", quote(name+":"))
	}
	before := ""
	switch {
	case body.Binary != nil:
		before = "printf '" + octal(body.Binary) + "' | "
		add("--data-binary", "@-")
	case hasBody:
		add("--data-raw", quote(body.Text))
	}
	return before + strings.Join(words, " ") + "\n"
}

// addedByCurl lists the fields that curl adds by itself and that the request has not.
func (e Entry) addedByCurl(hasBody bool) (names []string) {
	added := []string{"User-Agent", "Accept"}
	if hasBody {
		added = append(added, "Content-Type")
	}
	for _, name := range added {
		if !slices.ContainsFunc(e.Request.Fields, func(f Field) bool { return strings.EqualFold(f.Name, name) }) {
			names = append(names, name)
		}
	}
	return names
}

// quote makes one word of a shell's command line.
func quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:@%+,", r)
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// octal writes bytes as printf of a POSIX shell reads them between single quotes: no argument can have a zero byte.
func octal(data []byte) string {
	var b strings.Builder
	for _, c := range data {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == ' ' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\%03o`, c)
		}
	}
	return b.String()
}
