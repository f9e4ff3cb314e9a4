//go:build linux

package incoming

import (
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"

	"podstep.dev/internal/filter"
	"podstep.dev/internal/http1"
)

// h2request is a request's head. Its fields hold as long as those that it was read from.
type h2request struct {
	fields []hpack.HeaderField
	// regular are those behind the pseudo-header fields.
	regular []hpack.HeaderField
	about   filter.Request
	// authority is shown to filters as Host.
	authority string
	// tunnel says that it is a CONNECT, probe that it is a probe of whose it is.
	tunnel, probe bool
}

// Len is the number of fields that filters see.
func (r *h2request) Len() int {
	if r.authority != "" {
		return len(r.regular) + 1
	}
	return len(r.regular)
}

// At is the i-th.
func (r *h2request) At(i int) (name, value string) {
	if r.authority != "" {
		if i == 0 {
			return "host", r.authority
		}
		i--
	}
	return r.regular[i].Name, r.regular[i].Value
}

// value is the one value of a field, empty when there is none or several.
func (r *h2request) value(name string) (value string) {
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

// keep makes the request hold on. Binary metadata is as every server of gRPC takes it: a debuggee has not agreed with the client on anything else.
func (r *h2request) keep() *h2request {
	kept := *r
	kept.fields = cloned(r.fields)
	for i, f := range kept.fields {
		if isTrueBinary(f) {
			kept.fields[i].Value = base64.RawStdEncoding.EncodeToString([]byte(f.Value[1:]))
		}
	}
	kept.regular = kept.fields[len(r.fields)-len(r.regular):]
	kept.about.Fields = &kept
	return &kept
}

func cloned(fields []hpack.HeaderField) []hpack.HeaderField {
	return append(make([]hpack.HeaderField, 0, len(fields)), fields...)
}

// readRequest reads a request's head; nil when it is malformed (RFC 9113 §8.1.1), and nobody's but the target's. Extended CONNECT is a
// GET, which it is in HTTP/1 (RFC 8441 §5).
func readRequest(fields []hpack.HeaderField) *h2request {
	r := &h2request{fields: fields}
	var scheme, protocol string
	for i, f := range fields {
		if !strings.HasPrefix(f.Name, ":") {
			r.regular = fields[i:]
			break
		}
		var at *string
		switch f.Name {
		case ":method":
			at = &r.about.Method
		case ":path":
			at = &r.about.Target
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
	for _, f := range r.regular {
		if !isRegular(f) {
			return nil
		}
	}
	r.about.Fields = r
	r.tunnel = r.about.Method == "CONNECT"
	switch connect := r.tunnel; {
	case r.about.Method == "", !httpguts.ValidHeaderFieldName(r.about.Method):
		return nil
	case connect && protocol == "":
		if r.about.Target != "" || scheme != "" || r.authority == "" {
			return nil
		}
		r.about.Target = r.authority
		return r
	case !connect && protocol != "", scheme == "":
		return nil
	case connect:
		r.about.Method = "GET"
	}
	if !strings.HasPrefix(r.about.Target, "/") && (r.about.Target != "*" || r.about.Method != "OPTIONS") || strings.ContainsAny(r.about.Target, " #") {
		return nil
	}
	return r
}

// isTrueBinary tells metadata of gRPC that is sent as it is, behind a zero byte, to a server that has allowed it (gRPC, proposal G1).
func isTrueBinary(f hpack.HeaderField) bool {
	return strings.HasSuffix(f.Name, "-bin") && strings.HasPrefix(f.Value, "\x00")
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

// isH2Probe is isProbe of a request of HTTP/2. A kubelet's probes of HTTP are of HTTP/1, but a mesh may ask in its place.
func (st *steal) isH2Probe(r *h2request) bool {
	switch get := r.about.Method == "GET" && !r.tunnel; {
	case get && st.probes.has(r.about.Target) && strings.HasPrefix(r.value("user-agent"), prober):
		return true
	case st.declared == nil, !get && r.about.Method != "HEAD":
		return false
	}
	return st.declared.Match(r.about) == filter.Yes
}

// contentWait is a request for whose content a filter waits.
type contentWait struct {
	x *h2exchange
	// claims are those that are not asked yet; the first waits for the content.
	claims []*steal
	// over is closed when it is decided, or given up.
	over chan struct{}
}

// chooses says whose a request is, nil for the target; needs are the claims whose first waits for the content.
func (m *interposer) chooses(r *h2request, s *h2stream) (st *steal, needs []*steal) {
	claims := m.claimed()
	for i, st := range claims {
		if st.filter != nil {
			v := st.filter.Match(r.about)
			if v == filter.NeedsBody {
				// A client that waits for 100 (Continue) is not kept waiting.
				if !s.ended && !strings.EqualFold(r.value("expect"), "100-continue") {
					return nil, claims[i:]
				}
				v = st.filter.MatchBody(r.about, nil, s.ended)
			}
			if v != filter.Yes {
				continue
			}
		}
		return st.orTarget(r), nil
	}
	return nil, nil
}

// orTarget is the claim, or nil when the target answers its request all the same.
func (st *steal) orTarget(r *h2request) *steal {
	r.probe = st.isH2Probe(r)
	if r.probe && !st.takesProbes() || !r.probe && !st.takes() {
		return nil
	}
	return st
}

// undecide waits for a request's content. Its goroutine ends when that is decided.
func (m *interposer) undecide(s *h2stream, r *h2request, claims []*steal) {
	u := &contentWait{m.newExchange(s, r.keep(), nil), slices.Clone(claims), make(chan struct{})}
	s.undecided = u
	m.others.Go(func() {
		patience := time.NewTimer(bodyPatience)
		defer patience.Stop()
		select {
		case <-u.over:
			return
		case <-patience.C:
		}
		m.mu.Lock()
		if s.undecided == u {
			m.decide(s)
		}
		m.mu.Unlock()
		m.offerFresh()
		m.flushBoth()
	})
}

// contentOf takes in content of a request that is not decided, which is when as much of it is known as a filter looks into, or may be
// kept.
func (m *interposer) contentOf(s *h2stream, p []byte, size int) {
	x := s.undecided.x
	x.waiting = append(x.waiting, p...)
	x.credited += size
	m.credit(s, size)
	if s.ended || len(x.waiting) >= filter.MaxBody || !x.account() {
		m.decide(s)
	}
}

// settled ends the wait.
func (s *h2stream) settled() {
	if s.undecided != nil {
		close(s.undecided.over)
		s.undecided = nil
	}
}

// decide routes a request by what is known of its content.
func (m *interposer) decide(s *h2stream) {
	u, x := s.undecided, s.undecided.x
	s.settled()
	for i, st := range u.claims {
		if st.over.Err() == nil && st.wants(x, i > 0) {
			x.st = st.orTarget(x.r)
			break
		}
	}
	if x.st == nil || m.exchanges >= maxExchanges || !x.begin() {
		x.giveToTarget()
		return
	}
	_ = x.credit.Grant(x.granted)
}

// wants asks a filter about a request of which as much content is known as will be.
func (st *steal) wants(x *h2exchange, askHead bool) bool {
	if st.filter == nil {
		return true
	}
	v := filter.NeedsBody
	if askHead {
		v = st.filter.Match(x.r.about)
	}
	if v == filter.NeedsBody {
		v = st.filter.MatchBody(x.r.about, x.waiting, x.s.ended)
	}
	return v == filter.Yes
}

// like is the request's method and fields as HTTP/1 has them.
func (r *h2request) like() *http1.Request {
	like := &http1.Request{Method: r.about.Method}
	for i := range r.Len() {
		name, value := r.At(i)
		like.Fields = append(like.Fields, http1.Field{Name: name, Value: value})
	}
	return like
}
