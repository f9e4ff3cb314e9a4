package requests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"podstep.dev/internal/http1"
	"podstep.dev/internal/wire"
)

// Why a request cannot be replayed.
var (
	ErrGone     = errors.New("the request is not in the log (any more)")
	ErrNotWhole = errors.New("not all of the request was kept")
	ErrSwitched = errors.New("the connection went on in another protocol behind this request")
	ErrNoReplay = errors.New("this session cannot replay")
)

// Replay is a request that is going to be sent to the debuggee again. It is a new request, which nobody but the debuggee sees.
type Replay struct {
	// ID is the new request's.
	ID uint64

	log       *Log
	raw       []byte
	port      uint16
	recording *Recording
}

// Replay readies the request of that id for being sent again, byte by byte as it came, or as edited says if that is not empty: text as [Entry.HTTP]
// writes it. The caller calls Run.
func (l *Log) Replay(id uint64, edited string) (*Replay, error) {
	if l.opts.Replay == nil {
		return nil, ErrNoReplay
	}
	r, ok := l.find(id)
	if !ok {
		return nil, ErrGone
	}
	raw, err := r.again(edited)
	if err != nil {
		return nil, err
	}
	// Without From: the client that sent it first has no part in this one.
	h := wire.Header{Kind: wire.KindRequest, Port: r.header.Port, To: r.header.To, Protocol: r.header.Protocol, TLS: r.header.TLS}
	replayOf := id
	if r.replayOf != 0 {
		replayOf = r.replayOf
	}
	recording := l.begin(h, replayOf)
	recording.Request(raw)
	return &Replay{ID: recording.ID(), log: l, raw: raw, port: h.Port, recording: recording}, nil
}

// Run sends the request and returns when it is over, or ctx is.
func (r *Replay) Run(ctx context.Context) error {
	err := r.log.opts.Replay(ctx, r.port, r.raw, &Recording{log: r.log, record: r.recording.record, sent: true})
	r.recording.End(err)
	return err
}

// again returns the bytes to send.
func (r record) again(edited string) ([]byte, error) {
	if r.header.Protocol == wire.HTTP2 {
		return r.again2(edited)
	}
	h, ok := readRequest(r.request.kept)
	if r.header.Protocol != wire.HTTP1 || !ok {
		return nil, ErrNotWhole
	}
	if answer, ok := readResponse(r.response.kept, h.method); ok && answer.switched {
		return nil, ErrSwitched
	}
	whole := int64(len(r.request.kept)) == r.request.total
	if edited == "" {
		if !whole {
			return nil, ErrNotWhole
		}
		return r.request.kept, nil
	}
	e, err := parseEdited(edited, "HTTP/1.1", "HTTP/1.0")
	if err != nil {
		return nil, err
	}
	plain := r.entry(Plain).Request
	e.unmask(r.entry(Masked).Request, plain)
	raw := e.bytes()
	if e.body == plain.Body.Text { // as it was shown: it goes as it came
		if !whole {
			return nil, ErrNotWhole
		}
		raw = append(e.head(plain), r.request.kept[h.size:]...)
	}
	if request, err := http1.ParseRequest(raw); err != nil {
		return nil, err
	} else if request == nil {
		return nil, errors.New("the request is not whole")
	}
	return raw, nil
}

// edited is a request that a person wrote.
type edited struct {
	method, target, version string
	host                    string // of the target, if that has one
	fields                  []Field
	body                    string
}

// parseEdited reads a .http file: comments, a request line, fields, an empty line, the body without the file's last line end. The
// versions are those that it may name, the first is that of one without.
func parseEdited(text string, versions ...string) (*edited, error) {
	e := &edited{}
	rest := text
	for e.method == "" {
		line, more, ok := cutLine(rest)
		if rest = more; line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "//") {
			if !ok {
				return nil, errors.New("there is no request line in it")
			}
			continue
		}
		if err := e.requestLine(line, versions); err != nil {
			return nil, err
		}
	}
	for rest != "" {
		var line string
		if line, rest, _ = cutLine(rest); line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) || strings.ContainsAny(value, "\r\n\x00") {
			return nil, fmt.Errorf("%q is no header field", line)
		}
		if !(Message{}).framing(name) {
			e.fields = append(e.fields, Field{name, strings.Trim(value, " \t")})
		}
	}
	if e.host != "" && !slices.ContainsFunc(e.fields, isHost) {
		e.fields = slices.Insert(e.fields, 0, Field{"Host", e.host})
	}
	e.body = strings.TrimSuffix(rest, "\n")
	return e, nil
}

func (e *edited) requestLine(line string, versions []string) error {
	words := strings.Fields(line)
	if len(words) == 2 {
		words = append(words, versions[0])
	}
	if len(words) != 3 || !isToken(words[0]) || !slices.Contains(versions, words[2]) {
		return fmt.Errorf("%q is no request line", line)
	}
	e.method, e.target, e.version = words[0], words[1], words[2]
	if strings.HasPrefix(e.target, "/") || e.target == "*" {
		return nil
	}
	if u, err := url.Parse(e.target); err == nil && u.Host != "" {
		_, e.target, _ = strings.Cut(e.target, u.Host)
		if !strings.HasPrefix(e.target, "/") {
			e.target = "/" + e.target
		}
		e.host = u.Host
		return nil
	}
	return fmt.Errorf("%q has neither a path nor a URL", line)
}

// unmask puts back what the person left as it was shown.
func (e *edited) unmask(masked, plain Message) {
	path, query, ok := strings.Cut(e.target, "?")
	if _, was, has := strings.Cut(plain.target(), "?"); ok && has {
		e.target = path + "?" + unmaskForm(query, was)
	}
	used := make([]bool, len(masked.Fields))
	for i, f := range e.fields {
		for k, m := range masked.Fields {
			if !used[k] && strings.EqualFold(f.Name, m.Name) && f.Value == m.Value {
				e.fields[i].Value, used[k] = plain.Fields[k].Value, true
				break
			}
		}
	}
	switch kind := strings.ToLower(plain.Value("Content-Type")); {
	case isJSON(kind, plain.Body.Text):
		e.body = unmaskJSON(e.body, plain.Body.Text)
	case strings.HasPrefix(kind, formType):
		e.body = unmaskForm(e.body, plain.Body.Text)
	}
}

func isHost(f Field) bool { return strings.EqualFold(f.Name, "Host") }

// bytes is the request with the body's length as it is.
func (e *edited) bytes() []byte {
	var length []Field
	if e.body != "" {
		length = []Field{{"Content-Length", fmt.Sprint(len(e.body))}}
	}
	return append(e.with(length), e.body...)
}

// head is the request's head with the framing of the original.
func (e *edited) head(original Message) []byte {
	var framing []Field
	for _, f := range original.Fields {
		if original.framing(f.Name) {
			framing = append(framing, f)
		}
	}
	return e.with(framing)
}

func (e *edited) with(framing []Field) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s %s\r\n", e.method, e.target, e.version)
	for _, f := range slices.Concat(e.fields, framing) {
		fmt.Fprintf(&b, "%s: %s\r\n", f.Name, f.Value)
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

func cutLine(text string) (line, rest string, more bool) {
	line, rest, more = strings.Cut(text, "\n")
	return strings.TrimSuffix(line, "\r"), rest, more
}

// isToken reports whether s is a name (RFC 9110 §5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
	})
}
