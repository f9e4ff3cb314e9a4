package tunnel

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// h2reply is a response of podstep's own to a request with that head: what its sender reads as a failure. body is empty of one to gRPC, whose
// status and message are fields.
func h2reply(request []hpack.HeaderField, status int, fields []hpack.HeaderField, kind, text string) (head []hpack.HeaderField, body string) {
	if contentType := h2value(request, "content-type"); isGRPC(contentType) {
		return h2fields(
			":status", "200", "content-type", contentType,
			"grpc-status", strconv.Itoa(grpcStatus(status)), "grpc-message", grpcMessage(strings.TrimSpace(text)),
		), ""
	}
	head = append(h2fields(":status", strconv.Itoa(status)), fields...)
	head = append(head, h2fields("cache-control", "no-store", "content-type", kind, "content-length", strconv.Itoa(len(text)))...)
	if h2value(request, ":method") == http.MethodHead {
		text = ""
	}
	return head, text
}

// isGRPC says whether a media type is one of gRPC (gRPC, doc/PROTOCOL-HTTP2.md).
func isGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(contentType), "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// grpcStatus is the code that a client of gRPC makes of a status (gRPC, doc/http-grpc-status-mapping.md), but for 504, which is about time.
func grpcStatus(status int) int {
	switch status {
	case http.StatusBadRequest:
		return 13 // INTERNAL
	case http.StatusUnauthorized:
		return 16 // UNAUTHENTICATED
	case http.StatusForbidden:
		return 7 // PERMISSION_DENIED
	case http.StatusNotFound:
		return 12 // UNIMPLEMENTED
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable:
		return 14 // UNAVAILABLE
	case http.StatusGatewayTimeout:
		return 4 // DEADLINE_EXCEEDED
	}
	return 2 // UNKNOWN
}

// grpcMessage encodes a message for its field (gRPC, doc/PROTOCOL-HTTP2.md).
func grpcMessage(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func h2fields(pairs ...string) (fields []hpack.HeaderField) {
	for i := 0; i < len(pairs); i += 2 {
		fields = append(fields, hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return fields
}

// h2value is the first field's of that name, "" when there is none.
func h2value(fields []hpack.HeaderField, name string) string {
	for _, f := range fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}
