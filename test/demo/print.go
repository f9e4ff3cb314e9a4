package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// transcript prints the story, coloured where a person reads it.
type transcript struct {
	out    io.Writer
	colour bool
	began  time.Time

	mu     sync.Mutex
	claims []claim
	steps  int
}

// claim is a line of the table at the end.
type claim struct {
	text, seen string
	held       bool
}

func newTranscript(out *os.File) *transcript {
	_, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS)
	return &transcript{out: out, colour: err == nil && os.Getenv("NO_COLOR") == "", began: time.Now()}
}

// The colours, as of ECMA-48 (SGR).
const (
	bold, dim, red, green, yellow, cyan = "1", "2", "31", "32", "33", "36"
)

func (t *transcript) paint(colour, text string) string {
	if !t.colour || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// title begins the transcript.
func (t *transcript) title(text string) { fmt.Fprintf(t.out, "\n%s\n", t.paint(bold, text)) }

// step begins a chapter.
func (t *transcript) step(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps++
	at := fmt.Sprintf("%5.1f s", time.Since(t.began).Seconds())
	fmt.Fprintf(t.out, "\n%s %s  %s\n", t.paint(bold+";"+cyan, fmt.Sprintf("%d.", t.steps)), t.paint(bold, fmt.Sprintf(format, args...)), t.paint(dim, at))
}

// line is a sentence of the story.
func (t *transcript) line(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "   %s\n", fmt.Sprintf(format, args...))
}

// quote shows what a program printed.
func (t *transcript) quote(who, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for line := range strings.Lines(text) {
		fmt.Fprintf(t.out, "   %s %s\n", t.paint(dim, who+" │"), strings.TrimRight(line, "\r\n"))
	}
}

// quoter quotes what is written to it.
type quoter struct {
	t   *transcript
	who string
}

func (q quoter) Write(b []byte) (int, error) {
	q.t.quote(q.who, string(b))
	return len(b), nil
}

// reply shows what the client got.
func (t *transcript) reply(r reply) {
	colour := yellow
	if r.Cart.AnsweredBy == "debuggee" {
		colour = green
	}
	if r.Error != "" {
		t.line("%s %s", t.paint(dim, "client │"), t.paint(red, r.Error))
		return
	}
	t.line("%s cart %s, %d cents, to %s: answered by the %s on %s after %s", t.paint(dim, "client │"), r.Cart.ID, r.Cart.Price,
		r.Cart.Client, t.paint(bold+";"+colour, r.Cart.AnsweredBy), r.Cart.Hostname, short(r.Took))
}

// claim notes whether something was seen that the story says.
func (t *transcript) claim(held bool, text, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := claim{text: text, seen: fmt.Sprintf(format, args...), held: held}
	t.claims = append(t.claims, c)
	fmt.Fprintf(t.out, "   %s %s: %s\n", t.mark(c), c.text, t.paint(dim, c.seen))
}

func (t *transcript) mark(c claim) string {
	if c.held {
		return t.paint(bold+";"+green, "✓")
	}
	return t.paint(bold+";"+red, "✗")
}

// table is the summary: each claim and what was seen. It says whether all held.
func (t *transcript) table() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	width, all := 0, true
	for _, c := range t.claims {
		width = max(width, utf8.RuneCountInString(c.text))
		all = all && c.held
	}
	rule := "   " + strings.Repeat("─", width+3) + "┬" + strings.Repeat("─", 44)
	fmt.Fprintf(t.out, "\n%s\n", t.paint(dim, rule))
	for _, c := range t.claims {
		pad := strings.Repeat(" ", width-utf8.RuneCountInString(c.text))
		fmt.Fprintf(t.out, "   %s %s%s %s %s\n", t.mark(c), c.text, pad, t.paint(dim, "│"), c.seen)
	}
	fmt.Fprintf(t.out, "%s\n\n", t.paint(dim, strings.Replace(rule, "┬", "┴", 1)))
	return all
}

// short is a duration for people.
func short(d time.Duration) string {
	if d < 10*time.Millisecond {
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}
