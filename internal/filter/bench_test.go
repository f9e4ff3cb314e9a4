package filter_test

import (
	"testing"

	"podstep.dev/internal/filter"
)

func BenchmarkMatch(b *testing.B) {
	fields := filter.List{
		{Name: "Host", Value: "shop.example"}, {Name: "User-Agent", Value: "curl/8.5.0"}, {Name: "Accept", Value: "*/*"},
		{Name: "Accept-Encoding", Value: "gzip"}, {Name: "X-Forwarded-For", Value: "10.1.2.3"}, {Name: "Traceparent", Value: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		{Name: "Cookie", Value: "session=0af7651916cd43dd; theme=dark; user=alice"}, {Name: "Baggage", Value: "a=1,podstep=alice"}, {Name: "X-User", Value: "alice"}, {Name: "Content-Type", Value: "application/json"},
	}
	for _, bench := range []struct{ name, filter string }{
		{"header and path", `{"header": {"x-user": "alice"}, "path": {"glob": "/api/**"}}`},
		{"inner glob", `{"path": {"glob": "/api/*/items/**"}}`},
		{"regex", `{"header": {"x-user": {"regex": "alice|bob"}}}`},
		{"query", `{"query": {"page": "2"}}`},
		{"cookie", `{"cookie": {"user": "alice"}}`},
		{"mine", `{"baggage": {"podstep": "alice"}}`},
		{"other path", `{"path": {"prefix": "/other"}}`},
		{"groups", `{"any": [{"method": "PUT"}, {"not": {"header": {"x-user": "bob"}}, "host": "shop.example"}]}`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			m := parse(b, bench.filter).Matcher()
			r := filter.Request{Method: "GET", Target: "/api/v1/items/4711?page=2&size=20", Fields: &fields}
			b.ReportAllocs()
			for b.Loop() {
				m.Match(r)
			}
		})
	}
}

func TestMatchOfHeaderAndPathAllocatesNothing(t *testing.T) {
	m := parse(t, `{"header": {"x-user": "alice"}, "path": {"glob": "/api/**"}, "baggage": {"podstep": "k"}}`).Matcher()
	r := request("GET /api/v1/items?page=2", "Host: shop", "Cookie: a=b", "Baggage: podstep=k", "X-User: alice")
	if n := testing.AllocsPerRun(100, func() { m.Match(r) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
