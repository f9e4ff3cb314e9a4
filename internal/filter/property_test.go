package filter_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"podstep.dev/internal/filter"
)

// words are few, so that made-up requests and filters meet.
var words = rapid.SampledFrom([]string{"a", "ab", "abc", "b", "", "a,b"})

func patterns(path bool) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		word := words.Draw(t, "word")
		if path {
			word = "/" + strings.ReplaceAll(word, ",", "/")
		}
		switch rapid.IntRange(0, 5).Draw(t, "pattern") {
		case 0:
			return map[string]any{"prefix": word}
		case 1:
			return map[string]any{"regex": rapid.SampledFrom([]string{"a.*", "ab?c?", "/a.*", ".*b", "[ab]", "(?i)AB", "a|b"}).Draw(t, "regex")}
		case 2:
			if path {
				return map[string]any{"glob": rapid.SampledFrom([]string{"/*", "/a/**", "/a**", "/**/b", "/*c", "/a"}).Draw(t, "glob")}
			}
			return map[string]any{"present": rapid.Bool().Draw(t, "present")}
		}
		return word
	})
}

// objects are the JSON forms of filters.
func objects(depth int) *rapid.Generator[map[string]any] {
	return rapid.Custom(func(t *rapid.T) map[string]any {
		object := map[string]any{}
		keys := []string{"method", "host", "path", "header", "query", "cookie", "baggage", "tracestate", "grpc", "json", "sample"}
		if depth > 0 {
			keys = append(keys, "all", "any", "not", "all", "any", "not")
		}
		for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom(keys), 1, 3, rapid.ID).Draw(t, "keys") {
			switch key {
			case "method":
				object[key] = rapid.SliceOfN(rapid.SampledFrom([]string{"GET", "POST", "PUT"}), 1, 2).Draw(t, "methods")
			case "path":
				object[key] = patterns(true).Draw(t, "path")
			case "host":
				object[key] = rapid.SampledFrom([]any{"a", "ab", map[string]any{"prefix": "a"}, map[string]any{"present": false}}).Draw(t, "host")
			case "grpc":
				object[key] = rapid.SampledFrom([]any{map[string]any{"service": "a"}, map[string]any{"service": "a", "method": "b"}}).Draw(t, "grpc")
			case "sample":
				object[key] = rapid.SampledFrom([]any{map[string]any{"every": 1}, map[string]any{"first": 1}}).Draw(t, "sample")
			case "all", "any":
				object[key] = rapid.SliceOfN(objects(depth-1), 1, 3).Draw(t, "list")
			case "not":
				object[key] = objects(depth-1).Draw(t, "not")
			default:
				object[key] = rapid.MapOfN(rapid.SampledFrom([]string{"x", "y"}), patterns(false), 1, 2).Draw(t, "named")
			}
		}
		return object
	})
}

func filters() *rapid.Generator[filter.Filter] {
	return rapid.Custom(func(t *rapid.T) filter.Filter {
		text, err := json.Marshal(objects(2).Draw(t, "filter"))
		if err != nil {
			t.Fatal(err)
		}
		f, err := filter.Parse(text)
		if err != nil {
			t.Fatalf("Parse(%s): %v", text, err)
		}
		return f
	})
}

// asked is a request with its body.
type asked struct {
	filter.Request
	body string
}

func requests() *rapid.Generator[asked] {
	pair := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"x", "y"}).Draw(t, "name") + "=" + words.Draw(t, "value")
	})
	lines := rapid.Custom(func(t *rapid.T) filter.Field {
		name := rapid.SampledFrom([]string{"x", "X", "y", "host", "cookie", "baggage", "tracestate"}).Draw(t, "field")
		separator := map[string]string{"cookie": "; ", "baggage": ",", "tracestate": ","}[name]
		if separator == "" {
			return filter.Field{Name: name, Value: words.Draw(t, "value")}
		}
		return filter.Field{Name: name, Value: strings.Join(rapid.SliceOfN(pair, 1, 2).Draw(t, "pairs"), separator)}
	})
	return rapid.Custom(func(t *rapid.T) asked {
		r := asked{Request: filter.Request{
			Method: rapid.SampledFrom([]string{"GET", "POST", "PUT"}).Draw(t, "method"),
			Target: rapid.SampledFrom([]string{"/", "/a", "/ab", "/abc", "/a/b", "/b", "/a/../b", "/a%2Fb", "*"}).Draw(t, "target"),
		}}
		if query := rapid.SliceOfN(pair, 0, 2).Draw(t, "query"); len(query) > 0 && r.Target != "*" {
			r.Target += "?" + strings.Join(query, "&")
		}
		fields := rapid.SliceOfN(lines, 0, 4).Draw(t, "fields")
		if kind := rapid.SampledFrom([]string{"", "application/json", "application/grpc"}).Draw(t, "kind"); kind != "" {
			fields = append(fields, filter.Field{Name: "Content-Type", Value: kind})
		}
		r.Fields = filter.List(fields)
		r.body = rapid.SampledFrom([]string{`{"x": "a"}`, `{"x": "ab", "y": "b"}`, `{"x": "a", "x": "b"}`, `{"y": {}}`, `{`}).Draw(t, "body")
		return r
	})
}

func matches(f filter.Filter, r asked) bool {
	m := f.Matcher()
	v := m.Match(r.Request)
	if v == filter.NeedsBody {
		v = m.MatchBody(r.Request, []byte(r.body), true)
	}
	return v == filter.Yes
}

// samples tells whether what f says depends on the requests before.
func samples(f filter.Filter) bool {
	return strings.Contains(f.String(), "the first ") || strings.Contains(f.String(), "1 in ")
}

func TestNoRequestMatchesTwoDisjointFilters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := filters().Draw(t, "a"), filters().Draw(t, "b")
		if filter.Disjoint(a, b) != filter.Disjoint(b, a) {
			t.Fatalf("Disjoint of %s and %s depends on their order", a, b)
		}
		disjoint := filter.Disjoint(a, b)
		for range 20 {
			r := requests().Draw(t, "request")
			if matches(a, r) && matches(b, r) && disjoint {
				t.Fatalf("%s %s %v %s matches both %s and %s", r.Method, r.Target, r.Fields, r.body, a, b)
			}
		}
		if !disjoint {
			_ = filter.Both(a, b)
		}
	})
}

func TestNothingMatchesAFilterAndItsOpposite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, r := filters().Draw(t, "filter"), requests().Draw(t, "request")
		text, err := json.Marshal(map[string]any{"not": f})
		if err != nil {
			t.Fatal(err)
		}
		opposite, err := filter.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if !samples(f) && matches(f, r) && matches(opposite, r) {
			t.Fatalf("%s %s %v %s matches %s and its opposite", r.Method, r.Target, r.Fields, r.body, f)
		}
	})
}

func TestMatchIsNeverContradictedByABody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, r := filters().Draw(t, "filter"), requests().Draw(t, "request")
		v := f.Matcher().Match(r.Request)
		if got := f.Matcher().MatchBody(r.Request, []byte(r.body), true); v != filter.NeedsBody && got != v {
			t.Fatalf("%s: Match of %s %s %v = %v, MatchBody %v", f, r.Method, r.Target, r.Fields, v, got)
		}
	})
}

func TestExplainAgreesWithMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, r := filters().Draw(t, "filter"), requests().Draw(t, "request")
		v, reasons := f.Explain(r.Request, []byte(r.body))
		if len(reasons) == 0 {
			t.Fatalf("%s: no reason for %v", f, v)
		}
		if got := matches(f, r); !samples(f) && got != (v == filter.Yes) {
			t.Fatalf("%s: Explain = %v, matches is %v", f, v, got)
		}
	})
}

func TestFiltersAreReadAsTheyAreWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := filters().Draw(t, "filter")
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		var again filter.Filter
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatalf("Unmarshal(%s): %v", text, err)
		}
		if !f.Equal(again) || f.String() != again.String() {
			t.Fatalf("%s was read as %s", f, again)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"header": {"x-user": "alice"}, "path": {"glob": "/api/**"}}`, `{"any": [{"method": ["GET"]}, {"not": {"query": {"a b": {"regex": "a{3}"}}}}]}`,
		`{"json": {"$.a[0][\"b\"]": {"present": false}}, "sample": {"every": 10}}`, `{"grpc": {"service": "a.B"}, "host": "[::1]"}`, `[`, `{"a": `, `"mine"`, "{\"cookie\": {\"\xff\": 1}}",
	} {
		f.Add([]byte(s), "/a?b=c", "x-user", "alice")
	}
	f.Fuzz(func(t *testing.T, text []byte, target, name, value string) {
		a, err := filter.Parse(text)
		if err != nil {
			for _, p := range err.(filter.Problems) {
				if p.Offset < 0 || p.Offset > len(text) || p.Text == "" {
					t.Errorf("problem without a place or a text: %+v", p)
				}
			}
			return
		}
		written, err := a.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		again, err := filter.Parse(written)
		if err != nil || again.String() != a.String() {
			t.Fatalf("%s was read as %s, %v", a, again, err)
		}
		r := filter.Request{Method: "POST", Target: target, Fields: filter.List{{Name: name, Value: value}, {Name: "content-type", Value: "application/json"}}}
		a.Matcher().Match(r)
		a.Matcher().MatchBody(r, []byte(value), true)
		a.Explain(r, []byte(value))
		_ = filter.Both(a, filter.Mine("k"))
	})
}
