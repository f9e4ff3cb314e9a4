package sieve

import (
	"encoding/base64"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/internal/filter"
)

// Head is the head of a request of HTTP/2. Its fields hold as long as those that it was read from.
type Head struct {
	Fields []hpack.HeaderField
	// About is what filters are shown: the authority stands for a Host, and extended CONNECT is a GET, which it is in HTTP/1 (RFC 8441 §5).
	About filter.Request
	// Tunnel says that it is a CONNECT.
	Tunnel bool
	// Probe has room for whether it is a probe.
	Probe bool

	// regular are those behind the pseudo-header fields.
	regular   []hpack.HeaderField
	authority string
}

// Len is the number of fields that filters see.
func (r *Head) Len() int {
	if r.authority != "" {
		return len(r.regular) + 1
	}
	return len(r.regular)
}

// At is the i-th.
func (r *Head) At(i int) (name, value string) {
	if r.authority != "" {
		if i == 0 {
			return "host", r.authority
		}
		i--
	}
	return r.regular[i].Name, r.regular[i].Value
}

// Value is the one value of a field, empty when there is none or several.
func (r *Head) Value(name string) (value string) {
	for _, f := range r.regular {
		if f.Name == name {
			if value != "" {
				return ""
			}
			value = f.Value
		}
	}
	return value
}

// Keep makes the request hold on, for a debuggee.
func (r *Head) Keep() *Head {
	kept := *r
	kept.Fields = keep(r.Fields)
	kept.regular = kept.Fields[len(r.Fields)-len(r.regular):]
	kept.About.Fields = &kept
	return &kept
}

// keep is a copy of fields with binary metadata as every server of gRPC takes it: a debuggee has not agreed with the client on anything else.
func keep(fields []hpack.HeaderField) []hpack.HeaderField {
	kept := slices.Clone(fields)
	for i, f := range kept {
		if isTrueBinary(f) {
			kept[i].Value = base64.RawStdEncoding.EncodeToString([]byte(f.Value[1:]))
		}
	}
	return kept
}

// ReadHead reads a request's head; nil when it is malformed (RFC 9113 §8.1.1), and nobody's but the target's.
func ReadHead(fields []hpack.HeaderField) *Head {
	r := &Head{Fields: fields}
	var scheme, protocol string
	for i, f := range fields {
		if !strings.HasPrefix(f.Name, ":") {
			r.regular = fields[i:]
			break
		}
		var at *string
		switch f.Name {
		case ":method":
			at = &r.About.Method
		case ":path":
			at = &r.About.Target
		case ":scheme":
			at = &scheme
		case ":authority":
			at = &r.authority
		case ":protocol":
			at = &protocol
		}
		if at == nil || *at != "" || f.Value == "" && f.Name != ":authority" || !httpguts.ValidHeaderFieldValue(f.Value) {
			return nil
		}
		*at = f.Value
	}
	if !areRegular(r.regular) {
		return nil
	}
	r.About.Fields = r
	r.Tunnel = r.About.Method == "CONNECT"
	switch connect := r.Tunnel; {
	case r.About.Method == "", !httpguts.ValidHeaderFieldName(r.About.Method):
		return nil
	case connect && protocol == "":
		if r.About.Target != "" || scheme != "" || r.authority == "" {
			return nil
		}
		r.About.Target = r.authority
		return r
	case !connect && protocol != "", scheme == "":
		return nil
	case connect:
		r.About.Method = "GET"
	}
	if !strings.HasPrefix(r.About.Target, "/") && (r.About.Target != "*" || r.About.Method != "OPTIONS") || strings.ContainsAny(r.About.Target, " #") {
		return nil
	}
	return r
}

// isTrueBinary tells metadata of gRPC that is sent as it is, behind a zero byte, to a server that has allowed it (gRPC, proposal G1).
func isTrueBinary(f hpack.HeaderField) bool {
	return strings.HasSuffix(f.Name, "-bin") && strings.HasPrefix(f.Value, "\x00")
}

// areRegular says whether fields may be a trailer, or in a head behind the pseudo-header fields.
func areRegular(fields []hpack.HeaderField) bool {
	return !slices.ContainsFunc(fields, func(f hpack.HeaderField) bool { return !isRegular(f) })
}

// isRegular says whether a field may be in a message that is no pseudo-header field (RFC 9113 §8.2).
func isRegular(f hpack.HeaderField) bool {
	if !httpguts.ValidHeaderFieldName(f.Name) || !isTrueBinary(f) && (!httpguts.ValidHeaderFieldValue(f.Value) || f.Value != strings.Trim(f.Value, " \t")) {
		return false
	}
	for i := range len(f.Name) {
		if c := f.Name[i]; c >= 'A' && c <= 'Z' {
			return false
		}
	}
	switch f.Name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return false
	case "te":
		return strings.EqualFold(f.Value, "trailers")
	}
	return true
}
