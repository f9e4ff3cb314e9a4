package h2

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// IsGRPC says whether a media type is one of gRPC (gRPC, doc/PROTOCOL-HTTP2.md).
func IsGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(contentType), "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// GRPCFailure is a whole response that says to a client of gRPC what a status and a text say to others.
func GRPCFailure(contentType string, status int, text string) []hpack.HeaderField {
	return Fields(":status", "200", "content-type", contentType, "grpc-status", strconv.Itoa(grpcStatus(status)), "grpc-message", grpcMessage(text))
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
