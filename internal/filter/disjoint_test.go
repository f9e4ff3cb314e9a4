package filter_test

import (
	"testing"

	"podstep.dev/internal/filter"
)

func TestDisjoint(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
		both string
	}{
		// two developers, each with a value of their own
		{`{"header": {"x-user": "alice"}}`, `{"header": {"X-User": "bob"}}`, true, ``},
		{`{"header": {"x-user": "alice"}, "path": "/a"}`, `{"header": {"x-user": "bob"}, "path": "/a"}`, true, ``},
		{`{"cookie": {"user": "alice"}}`, `{"cookie": {"user": "bob"}}`, true, ``},
		{`{"query": {"user": "alice"}}`, `{"query": {"user": "bob"}}`, true, ``},
		{`{"baggage": {"user": "alice"}}`, `{"baggage": {"user": "bob"}}`, true, ``},
		{`{"json": {"$.user": "alice"}}`, `{"json": {"user": "bob"}}`, true, ``},
		{`{"header": {"x-user": "alice"}}`, `{"header": {"x-team": "blue"}}`, false, `both match GET / with x-user: alice and x-team: blue`},
		{`{"header": {"x-user": "alice"}}`, `{"header": {"x-user": "alice"}}`, false, `they are the same filter`},
		// other patterns
		{`{"header": {"x-user": "alice"}}`, `{"header": {"x-user": {"prefix": "bo"}}}`, true, ``},
		{`{"header": {"x-user": "alice"}}`, `{"header": {"x-user": {"prefix": "al"}}}`, false, `both match GET / with x-user: alice`},
		{`{"header": {"x-user": "alice"}}`, `{"header": {"x-user": {"present": false}}}`, true, ``},
		{`{"header": {"x-user": "alice"}}`, `{"header": {"x-user": {"regex": "[b-z].*"}}}`, true, ``},
		{`{"header": {"x-user": {"prefix": "al"}}}`, `{"header": {"x-user": {"prefix": "ali"}}}`, false, `both match GET / with x-user: ali`},
		{`{"header": {"x-user": {"prefix": "al"}}}`, `{"header": {"x-user": {"prefix": "bo"}}}`, true, ``},
		{`{"header": {"x-user": {"prefix": "al"}}}`, `{"header": {"x-user": {"regex": "bob.*"}}}`, true, ``},
		{`{"header": {"x-user": {"regex": "a[0-9]+"}}}`, `{"header": {"x-user": {"regex": "a1{3}"}}}`, false, `both match GET / with x-user: a111`},
		// methods, hosts, paths
		{`{"method": ["GET", "HEAD"]}`, `{"method": ["POST", "PUT"]}`, true, ``},
		{`{"method": ["GET", "HEAD"]}`, `{"method": ["PUT", "HEAD"]}`, false, `both match HEAD /`},
		{`{"method": "GET"}`, `{"grpc": {"service": "a.B"}}`, true, ``},
		{`{"grpc": {"service": "a.B"}}`, `{"grpc": {"service": "a.C"}}`, true, ``},
		{`{"grpc": {"service": "a.B"}}`, `{"grpc": {"service": "a.B", "method": "Get"}}`, false, `both match POST /a.B/Get with content-type: application/grpc`},
		{`{"host": "A"}`, `{"host": "b"}`, true, ``},
		{`{"path": {"glob": "/a/**"}}`, `{"path": {"glob": "/b/**"}}`, true, ``},
		{`{"path": {"glob": "/a/**"}}`, `{"path": {"glob": "/**/c"}}`, false, `both match GET /a/x/c`},
		{`{"path": {"glob": "/**.css"}}`, `{"path": {"glob": "/**.js"}}`, true, ``},
		{`{"path": {"glob": "/a/*"}}`, `{"path": "/a/b/c"}`, true, ``},
		{`{"path": {"glob": "/a/*"}}`, `{"path": "/a/b"}`, false, `both match GET /a/b`},
		// groups
		{`{"header": {"x-user": "alice"}}`, `{"not": {"header": {"x-user": "alice"}}}`, true, ``},
		{`{"path": {"prefix": "/a/"}}`, `{"not": {"path": {"glob": "/a**"}}}`, true, ``},
		{`{"path": {"prefix": "/a"}}`, `{"not": {"path": {"glob": "/a/**"}}}`, false, `both match GET /a`},
		{`{"any": [{"header": {"u": "a"}}, {"header": {"u": "b"}}]}`, `{"any": [{"header": {"u": "c"}}, {"header": {"u": "d"}}]}`, true, ``},
		{`{"any": [{"header": {"u": "a"}}, {"header": {"u": "b"}}]}`, `{"any": [{"header": {"u": "c"}}, {"header": {"u": "b"}}]}`, false, `both match GET / with u: b`},
		{`{"not": {"any": [{"header": {"u": "a"}}, {"method": "GET"}]}}`, `{"header": {"u": "a"}}`, true, ``},
		{`{"not": {"method": ["GET", "POST"]}}`, `{"path": "/a"}`, false, `both match PUT /a`},
		{`{"sample": {"every": 2}}`, `{"not": {"sample": {"every": 2}}}`, false, `both match GET /`},
		{`{"path": "/a", "sample": {"every": 2}}`, `{"path": "/b", "sample": {"every": 2}}`, true, ``},
		// examples
		{`{"query": {"a b": "c&d"}, "cookie": {"e": "f", "g": "h"}}`, `{"baggage": {"i": "j k"}, "host": {"regex": "a\\.[a-z]+"}}`, false,
			`both match GET /?a+b=c%26d with host: a.x and cookie: e=f; g=h and baggage: i=j%20k`},
		{`{"json": {"user.id": "7"}}`, `{"json": {"user.names[1]": {"present": true}}}`, false,
			`both match GET / with content-type: application/json and the body {"user":{"id":"7","names":[null,"x"]}}`},
		{`{"header": {"u": {"regex": "\\ba.*"}}}`, `{"header": {"u": {"regex": "..b.*"}}}`, false, `nothing in them keeps a request from matching both`},
	}
	for _, tt := range tests {
		a, b := parse(t, tt.a), parse(t, tt.b)
		if got := filter.Disjoint(a, b); got != tt.want {
			t.Errorf("Disjoint of %s and %s = %v, want %v", a, b, got, tt.want)
		}
		if got := filter.Both(a, b); !tt.want && got != tt.both {
			t.Errorf("Both of %s and %s\n     %s\nwant %s", a, b, got, tt.both)
		}
	}
}

func TestDisjointProvesNothingOfEveryRequestOrOfTooMuch(t *testing.T) {
	alice := parse(t, `{"header": {"x-user": "alice"}}`)
	if filter.Disjoint(alice, filter.Filter{}) || filter.Disjoint(filter.Filter{}, alice) {
		t.Error("a filter is disjoint with every request")
	}
	if got, want := filter.Both(alice, filter.Filter{}), "one of them wants every request"; got != want {
		t.Errorf("Both = %s, want %s", got, want)
	}
	alternatives := `{"any": [{"header": {"a": "1"}}, {"header": {"a": "2"}}]}`
	list := alternatives
	for range 9 {
		list += "," + alternatives
	}
	if filter.Disjoint(parse(t, `{"all": [`+list+`]}`), parse(t, `{"header": {"a": "3"}}`)) {
		t.Error("1024 alternatives were looked at")
	}
}
