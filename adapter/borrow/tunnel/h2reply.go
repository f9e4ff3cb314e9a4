package tunnel

import (
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"

	"podstep.dev/internal/h2"
)

// h2reply is a response of podstep's own to a request with that head: what its sender reads as a failure. body is empty of one to gRPC, whose
// status and message are fields.
func h2reply(request []hpack.HeaderField, status int, fields []hpack.HeaderField, kind, text string) (head []hpack.HeaderField, body string) {
	if contentType := h2.Value(request, "content-type"); h2.IsGRPC(contentType) {
		return h2.GRPCFailure(contentType, status, strings.TrimSpace(text)), ""
	}
	head = append(h2.Fields(":status", strconv.Itoa(status)), fields...)
	head = append(head, h2.Fields("cache-control", "no-store", "content-type", kind, "content-length", strconv.Itoa(len(text)))...)
	if h2.Value(request, ":method") == http.MethodHead {
		text = ""
	}
	return head, text
}
