package http1

// IsRepeatable says whether the request has the same effect when two servers have it: its method is safe (RFC 9110 §9.2.1) or, where whoever
// wrote the server says that this holds, it is idempotent (§9.2.2) or names an Idempotency-Key.
func (r *Request) IsRepeatable(idempotent bool) bool {
	switch r.Method {
	case "GET", "HEAD", "OPTIONS", "TRACE":
		return true
	case "PUT", "DELETE":
		return idempotent
	}
	_, keyed := Value(r.Fields, "Idempotency-Key")
	return idempotent && keyed
}
