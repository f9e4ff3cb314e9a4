package requests

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"podstep.dev/internal/program"
)

// HAR is an HTTP archive of version 1.2 (http://www.softwareishard.com/blog/har-12-spec/).
type HAR struct {
	Log HARLog `json:"log"`
}

// HARLog is the root of a HAR.
type HARLog struct {
	Version string     `json:"version"`
	Creator HARCreator `json:"creator"`
	Entries []HAREntry `json:"entries"`
}

// HARCreator names the program that wrote it.
type HARCreator struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// HAREntry is a request with its response. Names that begin with an underscore are podstep's own, as the specification has it.
type HAREntry struct {
	StartedDateTime string      `json:"startedDateTime"`
	Time            float64     `json:"time"`
	Request         HARRequest  `json:"request"`
	Response        HARResponse `json:"response"`
	Cache           struct{}    `json:"cache"`
	Timings         HARTimings  `json:"timings"`
	Connection      string      `json:"connection,omitempty"`
	Comment         string      `json:"comment,omitempty"`
	ID              uint64      `json:"_id"`
	ReplayOf        uint64      `json:"_replayOf,omitempty"`
}

// Started is StartedDateTime, the zero time when it cannot be read.
func (e HAREntry) Started() time.Time {
	t, err := time.Parse(time.RFC3339Nano, e.StartedDateTime)
	if err != nil {
		return time.Time{}
	}
	return t
}

// HARRequest is a request; sizes are -1 when they are not known.
type HARRequest struct {
	Method      string      `json:"method"`
	URL         string      `json:"url"`
	HTTPVersion string      `json:"httpVersion"`
	Cookies     []HARCookie `json:"cookies"`
	Headers     []Field     `json:"headers"`
	QueryString []Field     `json:"queryString"`
	PostData    *HARPost    `json:"postData,omitempty"`
	HeadersSize int64       `json:"headersSize"`
	BodySize    int64       `json:"bodySize"`
}

// HARPost is a request's body. The specification has no way for one that is no text.
type HARPost struct {
	MimeType string  `json:"mimeType"`
	Params   []Field `json:"params"`
	Text     string  `json:"text"`
	Comment  string  `json:"comment,omitempty"`
}

// HARResponse is a response; Status is 0 when there was none.
type HARResponse struct {
	Status      int         `json:"status"`
	StatusText  string      `json:"statusText"`
	HTTPVersion string      `json:"httpVersion"`
	Cookies     []HARCookie `json:"cookies"`
	Headers     []Field     `json:"headers"`
	Content     HARContent  `json:"content"`
	RedirectURL string      `json:"redirectURL"`
	HeadersSize int64       `json:"headersSize"`
	BodySize    int64       `json:"bodySize"`
	Trailers    []Field     `json:"_trailers,omitempty"`
}

// HARContent is a response's body, decoded.
type HARContent struct {
	Size     int64  `json:"size"`
	MimeType string `json:"mimeType"`
	Text     string `json:"text,omitempty"`
	Encoding string `json:"encoding,omitempty"`
	Comment  string `json:"comment,omitempty"`
}

// HARCookie is a cookie.
type HARCookie struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// HARTimings are in milliseconds; -1 does not apply.
type HARTimings struct {
	Send    float64 `json:"send"`
	Wait    float64 `json:"wait"`
	Receive float64 `json:"receive"`
}

// NewHAR makes an archive of entries.
func NewHAR(entries []Entry) HAR {
	h := HAR{HARLog{Version: "1.2", Creator: HARCreator{"podstep", program.Version()}, Entries: []HAREntry{}}}
	for _, e := range entries {
		h.Log.Entries = append(h.Log.Entries, e.har())
	}
	return h
}

func (e Entry) har() HAREntry {
	h := HAREntry{
		StartedDateTime: e.Came.Format(time.RFC3339Nano), Time: e.Took, Comment: e.fate(), ID: e.ID, ReplayOf: e.ReplayOf,
		Timings: HARTimings{Wait: e.FirstByte, Receive: max(0, e.Took-e.FirstByte)},
		Request: HARRequest{
			Method: e.Method, URL: e.URL(), HTTPVersion: e.Protocol, Headers: e.Request.Fields, QueryString: params(e.Query),
			Cookies: cookies(e.Request.Value("Cookie")), HeadersSize: -1, BodySize: e.Request.Body.Size, PostData: e.Request.post(),
		},
		Response: HARResponse{Cookies: []HARCookie{}, Headers: []Field{}, HeadersSize: -1, BodySize: -1},
	}
	if e.Peer.IsValid() {
		h.Connection = e.Peer.String()
	}
	if e.Response != nil {
		h.Response = e.Response.har(e.Status)
	}
	return h
}

func (m Message) har(status int) HARResponse {
	words := append(strings.SplitN(m.Line, " ", 3), "", "")
	r := HARResponse{
		Status: status, StatusText: words[2], HTTPVersion: words[0], Headers: m.Fields, Cookies: []HARCookie{},
		RedirectURL: m.Value("Location"), HeadersSize: -1, BodySize: m.Body.Size, Trailers: m.Trailers,
		Content: HARContent{Size: int64(len(m.Body.Bytes())), MimeType: m.Value("Content-Type"), Text: m.Body.Text},
	}
	for _, f := range m.Fields {
		if strings.EqualFold(f.Name, "Set-Cookie") {
			pair, _, _ := strings.Cut(f.Value, ";")
			r.Cookies = append(r.Cookies, cookies(pair)...)
		}
	}
	if m.Body.Binary != nil {
		r.Content.Text, r.Content.Encoding = base64.StdEncoding.EncodeToString(m.Body.Binary), "base64"
	}
	if m.Body.Cut {
		r.Content.Comment = "only the beginning was kept"
	}
	return r
}

func (m Message) post() *HARPost {
	if m.Body.Size == 0 {
		return nil
	}
	p := &HARPost{MimeType: m.Value("Content-Type"), Params: []Field{}, Text: m.Body.Text}
	switch {
	case m.Body.Binary != nil:
		p.Text, p.Comment = base64.StdEncoding.EncodeToString(m.Body.Binary), "base64: the body is no text"
	case m.Body.Cut:
		p.Comment = "only the beginning was kept"
	}
	return p
}

// params lists the parameters of a query in their order.
func params(query string) []Field {
	list := []Field{}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		list = append(list, Field{unescape(name), unescape(value)})
	}
	return list
}

func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

func cookies(value string) []HARCookie {
	list := []HARCookie{}
	parsed, err := http.ParseCookie(value)
	if err != nil {
		return list
	}
	for _, c := range parsed {
		list = append(list, HARCookie{c.Name, c.Value})
	}
	return list
}
