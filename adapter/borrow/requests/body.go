package requests

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http/httputil"
	"strings"
	"unicode/utf8"
)

// maxDecoded bounds what a compressed body is decoded to: a small one can be made to grow without end.
const maxDecoded = 1 << 20

// Body is a body as it is shown: without its framing, and without gzip or deflate.
type Body struct {
	// Size is how many bytes came, framing and compression included.
	Size int64 `json:"size"`
	// Cut says that not all of it is here.
	Cut bool `json:"cut,omitempty"`
	// Coding is the compression that was undone.
	Coding string `json:"coding,omitempty"`
	// Text is the body when it is text, Binary when it is none.
	Text   string `json:"text,omitempty"`
	Binary []byte `json:"base64,omitempty"`
}

// Bytes returns what is shown.
func (b Body) Bytes() []byte {
	if b.Binary != nil {
		return b.Binary
	}
	return []byte(b.Text)
}

// shown makes a body of data, of which size bytes came.
func shown(data []byte, size int64) Body {
	b := Body{Size: size}
	if isText(data) {
		b.Text = string(data)
	} else {
		b.Binary = data
	}
	return b
}

// isText reports whether data can be shown, by a terminal too. A character that is cut at the end does not matter.
func isText(data []byte) bool {
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && n == 1:
			return !utf8.FullRune(data)
		case r < ' ' && r != '\t' && r != '\r' && r != '\n' && r != '\f', r >= 0x7f && r < 0xa0:
			return false
		}
		data = data[n:]
	}
	return true
}

// decode undoes the chunks of a body and its compression, as far as it is there, and says which compression that was.
func decode(h head, raw []byte) (data []byte, coding string) {
	data = raw
	if strings.HasSuffix(strings.ToLower(h.value("Transfer-Encoding")), "chunked") {
		data, _ = io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(raw))) // the end may be missing
	}
	var (
		r   io.Reader
		err error
	)
	switch coding = strings.ToLower(h.value("Content-Encoding")); coding {
	case "gzip", "x-gzip":
		r, err = gzip.NewReader(bytes.NewReader(data))
	case "deflate":
		r, err = zlib.NewReader(bytes.NewReader(data))
	default:
		return data, ""
	}
	if err != nil {
		return data, ""
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxDecoded))
	if err != nil && len(plain) == 0 {
		return data, ""
	}
	return plain, coding
}
