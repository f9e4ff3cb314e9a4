package filter_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"podstep.dev/internal/filter"
)

// request makes a head of "METHOD TARGET" and "Name: value" lines.
func request(lines ...string) filter.Request {
	method, target, _ := strings.Cut(lines[0], " ")
	var fields filter.List
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		fields = append(fields, filter.Field{Name: name, Value: strings.TrimSpace(value)})
	}
	return filter.Request{Method: method, Target: target, Fields: fields}
}

func parse(t testing.TB, text string) filter.Filter {
	t.Helper()
	f, err := filter.Parse([]byte(text))
	if err != nil {
		t.Fatalf("Parse(%s): %v", text, err)
	}
	return f
}

func TestMatch(t *testing.T) {
	alice, notAlice := `{"header": {"X-User": "alice"}}`, `{"not": {"header": {"x-user": "alice"}}}`
	tests := []struct {
		filter string
		head   []string
		want   filter.Verdict
	}{
		// headers
		{alice, []string{"GET /", "x-USER: alice"}, filter.Yes},
		{alice, []string{"GET /", "X-User: Alice"}, filter.No},
		{alice, []string{"GET /", "X-User: alice, bob"}, filter.No},
		{alice, []string{"GET /"}, filter.No},
		{notAlice, []string{"GET /"}, filter.Yes},
		{notAlice, []string{"GET /", "X-User: bob"}, filter.Yes},
		// the same value twice is one value; two values belong to nobody
		{alice, []string{"GET /", "X-User: alice", "x-user: alice"}, filter.Yes},
		{alice, []string{"GET /", "X-User: alice", "X-User: bob"}, filter.No},
		{notAlice, []string{"GET /", "X-User: alice", "X-User: bob"}, filter.No},
		{`{"header": {"x-user": {"regex": ".*"}}}`, []string{"GET /", "X-User: alice", "X-User: bob"}, filter.No},
		{`{"header": {"x-user": {"present": true}}}`, []string{"GET /", "X-User: alice", "X-User: bob"}, filter.Yes},
		{`{"header": {"x-user": {"present": false}}}`, []string{"GET /", "X-User: alice", "X-User: bob"}, filter.No},
		{`{"header": {"x-user": {"present": false}}}`, []string{"GET /", "X-Use: alice"}, filter.Yes},
		{`{"header": {"x-user": ""}}`, []string{"GET /", "X-User:"}, filter.Yes},
		{`{"header": {"x-user": ""}}`, []string{"GET /"}, filter.No},
		{`{"header": {"x-user": {"prefix": "al"}}}`, []string{"GET /", "X-User: alice"}, filter.Yes},
		{`{"header": {"x-user": {"exact": "al"}}}`, []string{"GET /", "X-User: alice"}, filter.No},
		{`{"header": {"a": "1", "b": "2"}}`, []string{"GET /", "A: 1", "B: 2"}, filter.Yes},
		{`{"header": {"a": "1", "b": "2"}}`, []string{"GET /", "A: 1"}, filter.No},
		// expressions are for the whole value
		{`{"header": {"x-user": {"regex": "ali|bob"}}}`, []string{"GET /", "X-User: alice"}, filter.No},
		{`{"header": {"x-user": {"regex": "(?i)ALI.*"}}}`, []string{"GET /", "X-User: alice"}, filter.Yes},
		{`{"header": {"x-user": {"regex": "\\Qa.b"}}}`, []string{"GET /", "X-User: a.b"}, filter.Yes},
		{`{"header": {"x-user": {"regex": "a*"}}}`, []string{"GET /", "X-User: " + strings.Repeat("a", 4<<10)}, filter.Yes},
		{`{"header": {"x-user": {"regex": "a*"}}}`, []string{"GET /", "X-User: " + strings.Repeat("a", 4<<10+1)}, filter.No},
		{`{"not": {"header": {"x-user": {"regex": "a*"}}}}`, []string{"GET /", "X-User: " + strings.Repeat("b", 4<<10+1)}, filter.No},
		// methods
		{`{"method": "GET"}`, []string{"GET /"}, filter.Yes},
		{`{"method": ["GET", "HEAD"]}`, []string{"HEAD /"}, filter.Yes},
		{`{"method": ["GET", "HEAD"]}`, []string{"get /"}, filter.No},
		// hosts
		{`{"host": "Shop.Example"}`, []string{"GET /", "Host: shop.EXAMPLE:8080"}, filter.Yes},
		{`{"host": "[::1]"}`, []string{"GET /", "Host: [::1]:80"}, filter.Yes},
		{`{"host": {"regex": ".*\\.example"}}`, []string{"GET /", "Host: shop.example"}, filter.Yes},
		{`{"host": {"present": false}}`, []string{"GET /"}, filter.Yes},
		{`{"host": "a"}`, []string{"GET http://a/x", "Host: a"}, filter.Yes},
		{`{"host": "a"}`, []string{"GET http://a/x", "Host: b"}, filter.No},
		{`{"not": {"host": "a"}}`, []string{"GET http://a/x", "Host: b"}, filter.No},
		{`{"not": {"host": "a"}}`, []string{"GET /", "Host: b, a"}, filter.No},
		{`{"not": {"host": "a"}}`, []string{"GET /", "Host: a@b"}, filter.No},
		// parameters
		{`{"query": {"user": "al ice"}}`, []string{"GET /?x&user=al+ice"}, filter.Yes},
		{`{"query": {"user": "alice"}}`, []string{"GET /?%75ser=%61lice"}, filter.Yes},
		{`{"query": {"user": "alice"}}`, []string{"GET /?user=alice&user=alice"}, filter.Yes},
		{`{"query": {"user": "alice"}}`, []string{"GET /?user=alice&user=bob"}, filter.No},
		{`{"not": {"query": {"user": "alice"}}}`, []string{"GET /?user=alice&user=bob"}, filter.No},
		{`{"not": {"query": {"user": "bob"}}}`, []string{"GET /?user=alice;user=bob"}, filter.No},
		{`{"not": {"query": {"user": "bob"}}}`, []string{"GET /?user=%zz"}, filter.No},
		{`{"query": {"user": ""}}`, []string{"GET /?user"}, filter.Yes},
		{`{"query": {"user": {"present": false}}}`, []string{"GET /?"}, filter.Yes},
		{`{"query": {"user": "alice"}}`, []string{"GET http://a?user=alice"}, filter.Yes},
		// cookies
		{`{"cookie": {"user": "alice"}}`, []string{"GET /", "Cookie: a=b; user=alice"}, filter.Yes},
		{`{"cookie": {"user": "alice"}}`, []string{"GET /", "Cookie: a=b", "Cookie: user=alice"}, filter.Yes},
		{`{"cookie": {"user": "alice"}}`, []string{"GET /", "Cookie: user=bob; user=alice"}, filter.No},
		{`{"cookie": {"user": "alice"}}`, []string{"GET /", `Cookie: user="alice"`}, filter.No},
		// baggage and tracestate
		{`{"baggage": {"user": "al ice"}}`, []string{"GET /", "Baggage: a=1 , user = al%20ice;ttl=3"}, filter.Yes},
		{`{"baggage": {"user": "alice"}}`, []string{"GET /", "Baggage: a=1", "Baggage: user=alice"}, filter.Yes},
		{`{"baggage": {"user": "alice"}}`, []string{"GET /", "Baggage: user=alice,user=bob"}, filter.No},
		{`{"baggage": {"user": "a+b"}}`, []string{"GET /", "Baggage: user=a+b"}, filter.Yes},
		{`{"not": {"baggage": {"user": "a"}}}`, []string{"GET /", "Baggage: user=%a"}, filter.No},
		{`{"tracestate": {"a@b": "c;d"}}`, []string{"GET /", "Tracestate: x=1, a@b=c;d"}, filter.Yes},
		// gRPC
		{`{"grpc": {"service": "shop.Cart", "method": "Get"}}`, []string{"POST /shop.Cart/Get", "Content-Type: application/grpc+proto"}, filter.Yes},
		{`{"grpc": {"service": "shop.Cart"}}`, []string{"POST /shop.Cart/Put", "Content-Type: application/grpc"}, filter.Yes},
		{`{"grpc": {"service": "shop.Cart", "method": "Get"}}`, []string{"POST /shop.Cart/GetAll", "Content-Type: application/grpc"}, filter.No},
		{`{"grpc": {"service": "shop.Cart"}}`, []string{"POST /shop.Cart/Put", "Content-Type: application/json"}, filter.No},
		{`{"grpc": {"service": "shop.Cart"}}`, []string{"GET /shop.Cart/Put", "Content-Type: application/grpc"}, filter.No},
		// groups
		{`{"any": [{"method": "GET"}, {"path": "/a"}]}`, []string{"POST /a"}, filter.Yes},
		{`{"any": [{"method": "GET"}, {"path": "/a"}]}`, []string{"POST /b"}, filter.No},
		{`{"all": [{"header": {"a": {"prefix": "x"}}}, {"header": {"a": {"regex": ".*y"}}}]}`, []string{"GET /", "A: xy"}, filter.Yes},
		{`{"all": [{"header": {"a": {"prefix": "x"}}}, {"header": {"a": {"regex": ".*y"}}}]}`, []string{"GET /", "A: xz"}, filter.No},
		{`{"not": {"any": [{"method": "GET"}, {"path": "/a"}]}}`, []string{"POST /b"}, filter.Yes},
		{`{"any": [{"header": {"x-user": "alice"}}, {"method": "GET"}]}`, []string{"GET /", "X-User: alice", "X-User: bob"}, filter.Yes},
	}
	for _, tt := range tests {
		if got := parse(t, tt.filter).Matcher().Match(request(tt.head...)); got != tt.want {
			t.Errorf("%s of %.100q = %v, want %v", tt.filter, tt.head, got, tt.want)
		}
	}
}

func TestPathsAreMatchedAsAllServersReadThem(t *testing.T) {
	tests := []struct {
		path, target string
		want         filter.Verdict
		// whether the opposite is met
		opposite filter.Verdict
	}{
		{`"/a"`, "/a", filter.Yes, filter.No},
		{`"/a"`, "/a?x=1", filter.Yes, filter.No},
		{`"/a"`, "/a/", filter.No, filter.Yes},
		{`"/a"`, "http://shop/a?x", filter.Yes, filter.No},
		{`"/"`, "http://shop", filter.Yes, filter.No},
		{`"/"`, "*", filter.No, filter.Yes},
		{`{"prefix": "/a/"}`, "/a/b", filter.Yes, filter.No},
		{`{"prefix": "/a/."}`, "/a/.well-known", filter.Yes, filter.No},
		{`{"glob": "/a/*"}`, "/a/b", filter.Yes, filter.No},
		{`{"glob": "/a/*"}`, "/a/b/c", filter.No, filter.Yes},
		{`{"glob": "/a/*/c"}`, "/a/b/c", filter.Yes, filter.No},
		{`{"glob": "/a/**"}`, "/a/b/c", filter.Yes, filter.No},
		{`{"glob": "/a/**"}`, "/a", filter.No, filter.Yes},
		{`{"glob": "/**/c"}`, "/a/b/c", filter.Yes, filter.No},
		{`{"glob": "/**.css"}`, "/a/b.css", filter.Yes, filter.No},
		{`{"glob": "/a.b"}`, "/axb", filter.No, filter.Yes},
		{`{"regex": "/a/[0-9]+"}`, "/a/12", filter.Yes, filter.No},
		// escapes: of what needs them they are bytes, in either case
		{`"/caf%C3%A9"`, "/caf%C3%A9", filter.Yes, filter.No},
		{`"/caf%C3%A9"`, "/caf%c3%a9", filter.Yes, filter.No},
		// what servers read in different ways belongs to nobody
		{`{"prefix": "/a"}`, "/%61dmin", filter.No, filter.No},
		{`{"prefix": "/a"}`, "/a/../b", filter.No, filter.No},
		{`{"prefix": "/a"}`, "/a/./b", filter.No, filter.No},
		{`{"prefix": "/a"}`, "/a/%2e%2e/b", filter.No, filter.No},
		{`{"prefix": "/a"}`, "/a/..%2fb", filter.No, filter.No},
		{`{"prefix": "/a"}`, "/a/..;x=1/b", filter.No, filter.No},
		{`{"prefix": "/a"}`, "/a/..", filter.No, filter.No},
		{`{"prefix": "/a"}`, "//a", filter.No, filter.No},
		{`{"prefix": "/a"}`, "/a//b", filter.No, filter.No},
		{`{"prefix": "/a"}`, `/a\b`, filter.No, filter.No},
		{`{"prefix": "/a"}`, "/a#b", filter.No, filter.No},
		{`{"prefix": "/a"}`, "/a%", filter.No, filter.No},
		{`{"prefix": "/a"}`, "/a%zz", filter.No, filter.No},
		{`{"prefix": "/a"}`, "/caf\xc3\xa9", filter.No, filter.No},
		{`{"prefix": "/a"}`, "a", filter.No, filter.No},
		{`{"prefix": "/a"}`, "ftp://shop/a", filter.No, filter.No},
		// an encoded slash has to match both as a slash and as itself
		{`{"prefix": "/a/"}`, "/a/b%2Fc", filter.Yes, filter.No},
		{`{"glob": "/a/*"}`, "/a/b%2fc", filter.No, filter.No},
		{`{"glob": "/a/**"}`, "/a/b%2fc", filter.Yes, filter.No},
		{`{"prefix": "/a/"}`, "/a%2Fb", filter.No, filter.No},
		{`{"prefix": "/x"}`, "/a%2Fb", filter.No, filter.Yes},
	}
	for _, tt := range tests {
		text := `{"path": ` + tt.path + `}`
		if got := parse(t, text).Matcher().Match(request("GET " + tt.target)); got != tt.want {
			t.Errorf("%s of %s = %v, want %v", text, tt.target, got, tt.want)
		}
		text = `{"not": ` + text + `}`
		if got := parse(t, text).Matcher().Match(request("GET " + tt.target)); got != tt.opposite {
			t.Errorf("%s of %s = %v, want %v", text, tt.target, got, tt.opposite)
		}
	}
}

func TestMatchBody(t *testing.T) {
	id := `{"json": {"$.user.id": "7"}}`
	notID := `{"not": ` + id + `}`
	tests := map[string]struct {
		filter, kind, body string
		want               filter.Verdict
	}{
		"string":        {id, "application/json", `{"user": {"id": "7"}}`, filter.Yes},
		"number":        {id, "application/json; charset=utf-8", `{"user": {"id": 7}}`, filter.Yes},
		"other number":  {id, "application/json", `{"user": {"id": 7.0}}`, filter.No},
		"other kind":    {id, "Application/Problem+JSON", `{"user": {"id": 7}}`, filter.Yes},
		"none":          {id, "application/json", `{"user": {}}`, filter.No},
		"none, not":     {notID, "application/json", `{"user": {}}`, filter.Yes},
		"no object":     {id, "application/json", `{"user": [{"id": 7}]}`, filter.No},
		"structure":     {`{"json": {"user": "{}"}}`, "application/json", `{"user": {}}`, filter.No},
		"there":         {`{"json": {"user": {"present": true}}}`, "application/json", `{"user": {}}`, filter.Yes},
		"true":          {`{"json": {"a": "true"}}`, "application/json", `{"a": true}`, filter.Yes},
		"null":          {`{"json": {"a": "null"}}`, "application/json", `{"a": null}`, filter.Yes},
		"index":         {`{"json": {"items[1].id": {"regex": "[0-9]+"}}}`, "application/json", `{"items": [{"id": "x"}, {"id": 2}]}`, filter.Yes},
		"root list":     {`{"json": {"$[0]": "a"}}`, "application/json", `["a"]`, filter.Yes},
		"quoted":        {`{"json": {"$[\"a.b\"]": "c"}}`, "application/json", `{"a.b": "c"}`, filter.Yes},
		"unicode":       {`{"json": {"a": "é"}}`, "application/json", `{"a": "\u00e9"}`, filter.Yes},
		"empty":         {id, "application/json", "\n", filter.No},
		"empty, not":    {notID, "application/json", "\n", filter.Yes},
		"twice":         {id, "application/json", `{"user": {"id": 7, "i\u0064": 7}}`, filter.No},
		"twice, not":    {notID, "application/json", `{"user": {"id": 8, "id": 7}}`, filter.No},
		"broken":        {id, "application/json", `{"user": {"id": 7}`, filter.No},
		"broken, not":   {notID, "application/json", `{"user": {"id": 7}`, filter.No},
		"two":           {notID, "application/json", `{} {}`, filter.No},
		"no UTF-8":      {notID, "application/json", "\"\xff\"", filter.No},
		"too long":      {id, "application/json", `{"user": {"id": 7}}` + strings.Repeat(" ", filter.MaxBody), filter.No},
		"too long, not": {notID, "application/json", `{}` + strings.Repeat(" ", filter.MaxBody), filter.No},
		"as curl does":  {id, "application/x-www-form-urlencoded", " " + `{"user": {"id": 7}}`, filter.Yes},
		"broken form":   {notID, "application/x-www-form-urlencoded", `{"user"`, filter.No},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, r := parse(t, tt.filter).Matcher(), request("POST /", "Content-Type: "+tt.kind)
			if got := m.Match(r); got != filter.NeedsBody {
				t.Errorf("Match = %v, want NeedsBody", got)
			}
			if got := m.MatchBody(r, []byte(tt.body), true); got != tt.want {
				t.Errorf("MatchBody = %v, want %v", got, tt.want)
			}
			if got := m.MatchBody(r, []byte(tt.body), false); got != filter.No {
				t.Errorf("MatchBody of a part = %v, want No", got)
			}
		})
	}
}

func TestMatchAsksForTheBodyOnlyIfItDecides(t *testing.T) {
	json := `"json": {"id": "7"}`
	tests := []struct {
		filter string
		head   []string
		want   filter.Verdict
	}{
		{`{` + json + `}`, []string{"GET /"}, filter.No},
		{`{"not": {` + json + `}}`, []string{"POST /", "Content-Type: text/plain"}, filter.Yes},
		{`{` + json + `}`, []string{"POST /", "Content-Type: application/x-www-form-urlencoded"}, filter.NeedsBody},
		{`{` + json + `}`, []string{"POST /", "Content-Type: application/json", "Content-Encoding: gzip"}, filter.No},
		{`{` + json + `, "path": "/a"}`, []string{"POST /", "Content-Type: application/json"}, filter.No},
		{`{` + json + `, "path": "/"}`, []string{"POST /", "Content-Type: application/json"}, filter.NeedsBody},
		{`{"any": [{` + json + `}, {"path": "/"}]}`, []string{"POST /", "Content-Type: application/json"}, filter.Yes},
		{`{"any": [{` + json + `}, {"path": "/a"}]}`, []string{"POST /", "Content-Type: application/json"}, filter.NeedsBody},
		{`{"any": [{` + json + `}, {"path": "/", "sample": {"first": 1}}]}`, []string{"POST /", "Content-Type: application/json"}, filter.NeedsBody},
	}
	for _, tt := range tests {
		if got := parse(t, tt.filter).Matcher().Match(request(tt.head...)); got != tt.want {
			t.Errorf("%s of %q = %v, want %v", tt.filter, tt.head, got, tt.want)
		}
	}
}

// A form is none of JSON's, and is known not to be before all of it has come.
func TestMatchTellsAFormByItsBeginning(t *testing.T) {
	for _, field := range []string{"Content-Type: application/x-www-form-urlencoded", "Content-Length: 9", "Transfer-Encoding: chunked"} {
		m, r := parse(t, `{"not": {"json": {"id": "7"}}}`).Matcher(), request("POST /", field)
		if got := m.Match(r); got != filter.NeedsBody {
			t.Errorf("%s: Match = %v, want NeedsBody", field, got)
		}
		if got := m.MatchBody(r, []byte("id=7&x="), false); got != filter.Yes {
			t.Errorf("%s: MatchBody = %v, want Yes", field, got)
		}
	}
}

func TestSampleCountsWhatEverythingElseMatches(t *testing.T) {
	tests := map[string]struct{ filter, want string }{
		"every":       {`{"path": "/a", "sample": {"every": 2}}`, "a...a."},
		"first":       {`{"path": "/a", "sample": {"first": 2}}`, "a.a..."},
		"not":         {`{"path": "/a", "not": {"sample": {"first": 2}}}`, "....a."},
		"alternative": {`{"any": [{"sample": {"first": 1}}, {"path": "/a"}]}`, "aba.a."},
		"two":         {`{"any": [{"path": "/a", "sample": {"first": 1}}, {"path": "/b", "sample": {"every": 2}}]}`, "ab...b"},
		"inner":       {`{"path": "/a", "any": [{"sample": {"first": 1}}]}`, "a....."},
		"deep":        {`{"all": [{"sample": {"first": 2}}, {"not": {"path": "/b"}}]}`, "a.a..."},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, got := parse(t, tt.filter).Matcher(), ""
			for _, path := range []string{"a", "b", "a", "b", "a", "b"} {
				if m.Match(request("GET /"+path)) != filter.Yes {
					path = "."
				}
				got += path
			}
			if got != tt.want {
				t.Errorf("matched %s, want %s", got, tt.want)
			}
		})
	}
}

func TestSampleCountsARequestOnceWhenTheBodyDecides(t *testing.T) {
	f := parse(t, `{"any": [{"header": {"a": "1"}, "sample": {"first": 2}}, {"json": {"id": "7"}}]}`)
	m, r := f.Matcher(), request("POST /", "A: 1", "Content-Type: application/json")
	for i, want := range []filter.Verdict{filter.Yes, filter.Yes, filter.No} {
		if got := m.Match(r); got != filter.NeedsBody {
			t.Fatalf("Match = %v, want NeedsBody", got)
		}
		if got := m.MatchBody(r, []byte(`{}`), true); got != want {
			t.Errorf("MatchBody of request %d = %v, want %v", i+1, got, want)
		}
	}
}

func TestSampleIsExactUnderConcurrency(t *testing.T) {
	m := parse(t, `{"path": "/a", "sample": {"every": 10}}`).Matcher()
	var matched atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				if m.Match(request("GET /a")) == filter.Yes {
					matched.Add(1)
				}
			}
		})
	}
	all.Wait()
	if got := matched.Load(); got != 800 {
		t.Errorf("%d of 8000 matched, want 800", got)
	}
}

func TestZeroFilterWantsEveryRequest(t *testing.T) {
	if got := (filter.Filter{}).Matcher().Match(filter.Request{}); got != filter.Yes {
		t.Errorf("Match = %v, want Yes", got)
	}
}

func TestMine(t *testing.T) {
	f := filter.Mine("aZ09")
	if got, want := f.String(), `baggage podstep = "aZ09"`; got != want {
		t.Errorf("String = %s, want %s", got, want)
	}
	if !f.Equal(parse(t, `{"baggage": {"podstep": "aZ09"}}`)) {
		t.Error("it is not what its JSON form reads")
	}
	if !filter.Disjoint(f, filter.Mine("other")) {
		t.Error("filters of two keys are not disjoint")
	}
	for _, bad := range []string{"", "a-b", "é", "a b", strings.Repeat("a", 65)} {
		if filter.IsKey(bad) {
			t.Errorf("IsKey(%q)", bad)
		}
	}
}
