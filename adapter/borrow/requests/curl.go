package requests

import (
	"fmt"
	"slices"
	"strings"
)

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
	switch {
	case e.Protocol == "HTTP/1.0":
		add("--http1.0")
	case e.isHTTP2() && e.TLS:
		add("--http2")
	case e.isHTTP2():
		add("--http2-prior-knowledge")
	}
	for _, f := range e.Request.Fields {
		switch name := strings.ToLower(f.Name); {
		case e.Request.framing(f.Name), name == "host" && strings.HasPrefix(url, e.scheme()+f.Value):
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
