package filter_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"podstep.dev/internal/filter"
)

func TestParseReportsEachProblem(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"nothing":           {``, `0 : not JSON: EOF`},
		"syntax":            {`{"path" "/a"}`, `0 : not JSON: invalid character '"' after object key`},
		"more":              {`{"path": "/a"} x`, `0 : not JSON: something follows behind it`},
		"no object":         {`["a"]`, `0 : want an object, got a list`},
		"null":              {` null`, `1 : want an object, got null`},
		"empty":             {`{}`, `0 : empty; want a condition, for example {"header": {"x-user": "alice"}}`},
		"near key":          {`{"headers": {}}`, `1 headers: unknown key; did you mean "header"?`},
		"far key":           {`{"x": 1}`, `1 x: unknown key; known are method, host, path, header, query, cookie, baggage, tracestate, grpc, json, all, any, not, sample`},
		"twice":             {`{"path": "/a", "path": "/b"}`, `15 path: given twice`},
		"header twice":      {`{"header": {"A": "1", "a": "2"}}`, `22 header.a: given twice`},
		"header no object":  {`{"header": "x"}`, `11 header: want an object, got the string "x"`},
		"header empty":      {`{"header": {}}`, `11 header: empty; want a name with what its value must be`},
		"header name":       {`{"header": {"x user": "a"}}`, `12 header.x user: "x user" cannot be the name of a header`},
		"header space":      {`{"header": {"a": "b "}}`, `17 header.a: no value has a line break in it, or a space at its ends`},
		"number":            {`{"header": {"a": 1}}`, `17 header.a: want a string or an object such as {"prefix": "a"}, got the number 1`},
		"near pattern":      {`{"header": {"a": {"prefx": "b"}}}`, `18 header.a.prefx: unknown key; did you mean "prefix"?`},
		"glob of header":    {`{"header": {"a": {"glob": "b"}}}`, `18 header.a.glob: unknown key; known are exact, prefix, regex, present`},
		"two patterns":      {`{"header": {"a": {"prefix": "b", "exact": "c"}}}`, `17 header.a: want exactly one of exact, prefix, regex, present`},
		"no pattern":        {`{"path": {}}`, `9 path: want exactly one of exact, prefix, regex, glob`},
		"present":           {`{"header": {"a": {"present": "yes"}}}`, `29 header.a.present: want true or false, got the string "yes"`},
		"regex":             {`{"header": {"a": {"regex": "("}}}`, "27 header.a.regex: error parsing regexp: missing closing ): `(`"},
		"regex grows":       {`{"header": {"a": {"regex": "((a{30}){30}){30}"}}}`, `27 header.a.regex: error parsing regexp: invalid repeat count: ` + "`{30}`"},
		"regex is large":    {`{"header": {"a": {"regex": "(a{30}){30}b{100}"}}}`, `27 header.a.regex: too many repetitions in it`},
		"regex is long":     {`{"header": {"a": {"regex": "` + strings.Repeat("a", 1025) + `"}}}`, `27 header.a.regex: longer than 1024 bytes`},
		"method":            {`{"method": ["get"]}`, `12 method[0]: "get" is no method; methods are in capital letters, for example GET`},
		"method number":     {`{"method": 1}`, `11 method: want a method or a list of methods, got the number 1`},
		"no method":         {`{"method": []}`, `11 method: empty; want a method in it`},
		"host port":         {`{"host": "a:80"}`, `9 host: a host has no scheme, no path and no port here`},
		"path":              {`{"path": "api"}`, `9 path: does not begin with /; no path in the usual form does, and others are not matched`},
		"path dots":         {`{"path": "/a/../b"}`, `9 path: has the segment ".." in it; no path in the usual form does, and others are not matched`},
		"path query":        {`{"path": "/a?b"}`, `9 path: has a byte in it that a path has as %3F only; no path in the usual form does, and others are not matched`},
		"path not encoded":  {`{"path": "/é"}`, `9 path: has a byte in it that a path has as %C3 only; no path in the usual form does, and others are not matched`},
		"path small escape": {`{"path": "/%c3%a9"}`, `9 path: has escapes in small letters; write /%C3%A9`},
		"path slash":        {`{"path": "/a%2Fb"}`, `9 path: has %2F in it, which some servers take for a slash; match the path around it`},
		"path stars":        {`{"path": {"glob": "/***"}}`, `18 path.glob: has "***" in it; "*" is any characters of one segment, "**" any of several`},
		"cookie name":       {`{"cookie": {"a=b": "c"}}`, "12 cookie.a=b: \"a=b\" cannot be a name here: it has letters, digits and !#$%&'*+-.^_`|~"},
		"query name":        {`{"query": {"": "c"}}`, `11 query.: the name of a parameter is empty`},
		"json path":         {`{"json": {"a..b": "c"}}`, `10 json.a..b: is no path such as $.user.id, items[0].id or headers["x.y"]`},
		"json bracket":      {`{"json": {"a[x]": "c"}}`, `10 json.a[x]: has a bracket that is neither [0] nor ["KEY"]`},
		"json root":         {`{"json": {"$": "c"}}`, `10 json.$: leads nowhere; write $.user.id, or user.id`},
		"json same":         {`{"json": {"$.a": "c", "a": "d"}}`, `22 json.a: given twice`},
		"grpc":              {`{"grpc": {"method": "Get"}}`, `9 grpc: no "service"; want its full name, for example {"service": "shop.v1.Cart"}`},
		"grpc service":      {`{"grpc": {"service": "/a"}}`, `21 grpc.service: want the full name of a service, for example shop.v1.Cart, got the string "/a"`},
		"grpc key":          {`{"grpc": {"service": "a", "methd": "b"}}`, `26 grpc.methd: unknown key; did you mean "method"?`},
		"any":               {`{"any": {"path": "/a"}}`, `8 any: want a list of filters, got an object`},
		"any empty":         {`{"any": []}`, `8 any: empty; want a filter in it`},
		"any inner":         {`{"any": [{"path": "/a"}, {"path": 1}]}`, `34 any[1].path: want a string or an object such as {"prefix": "a"}, got the number 1`},
		"sample":            {`{"sample": {"every": 0}}`, `21 sample.every: want a whole number from 1, got the number 0`},
		"sample both":       {`{"sample": {"every": 2, "first": 1}}`, `11 sample: want one of {"every": 10} and {"first": 5}`},
		"deep":              {strings.Repeat(`{"not":`, 9) + `{"path":"/"}` + strings.Repeat(`}`, 9), `63 ` + strings.Repeat("not.", 8) + `not: more than 8 levels deep`},
		"very deep":         {strings.Repeat(`[`, 1000), `0 : not JSON: more than 32 levels deep`},
		"long":              {`{"path": "/` + strings.Repeat("a", filter.MaxSize) + `"}`, `0 : longer than 16 KiB`},
		"many":              {`{"all": [` + strings.Repeat(`{"path": "/"},`, 64) + `{"path": "/"}]}`, `0 : more than 64 conditions`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := filter.Parse([]byte(tt.text))
			var all filter.Problems
			if !errors.As(err, &all) {
				t.Fatalf("Parse = %v, want problems", err)
			}
			var got []string
			for _, p := range all {
				got = append(got, fmt.Sprintf("%d %s: %s", p.Offset, p.Path, p.Text))
			}
			if len(got) != 1 || got[0] != tt.want {
				t.Errorf("Parse(%.100s)\n got %s\nwant %s", tt.text, strings.Join(got, "\n     "), tt.want)
			}
		})
	}
}

func TestParseReportsAllProblemsInOrder(t *testing.T) {
	_, err := filter.Parse([]byte(`{"path": "a", "not": {"methd": "GET"}, "sample": 1}`))
	want := `path: does not begin with /; no path in the usual form does, and others are not matched; ` +
		`not.methd: unknown key; did you mean "method"?; sample: want an object, got the number 1`
	if err == nil || err.Error() != want {
		t.Errorf("Parse = %v\nwant %s", err, want)
	}
}

func TestFilterInWordsAndAsItIsWritten(t *testing.T) {
	tests := []struct{ text, words, written string }{
		{`{"path": {"glob": "/api/**"}, "header": {"X-User": {"exact": "alice"}}}`, `path /api/** and header x-user = "alice"`, `{"header":{"x-user":"alice"},"path":{"glob":"/api/**"}}`},
		{`{"method": ["PUT", "GET", "PUT"]}`, `method GET or PUT`, `{"method":["GET","PUT"]}`},
		{`{"method": ["GET"]}`, `method GET`, `{"method":"GET"}`},
		{`{"host": "Shop.Example"}`, `host = "shop.example"`, `{"host":"shop.example"}`},
		{`{"path": {"prefix": "/a"}}`, `path begins with "/a"`, `{"path":{"prefix":"/a"}}`},
		{`{"query": {"a b": {"regex": "x|y"}}}`, `query "a b" matches "x|y"`, `{"query":{"a b":{"regex":"x|y"}}}`},
		{`{"cookie": {"a": {"present": true}, "b": {"present": false}}}`, `with cookie a and without cookie b`, `{"cookie":{"a":{"present":true},"b":{"present":false}}}`},
		{`{"json": {"$.a[0]['x']": "1"}}`, ``, ``},
		{`{"json": {"$.a[0][\"x.y\"].b": "1"}}`, `JSON "a[0][\"x.y\"].b" = "1"`, `{"json":{"a[0][\"x.y\"].b":"1"}}`},
		{`{"grpc": {"service": "a.B", "method": "Get"}, "baggage": {"a": "b"}}`, `baggage a = "b" and gRPC a.B/Get`, `{"baggage":{"a":"b"},"grpc":{"method":"Get","service":"a.B"}}`},
		{`{"path": "/a", "sample": {"every": 10}}`, `path = "/a" and 1 in 10`, `{"path":"/a","sample":{"every":10}}`},
		{`{"sample": {"first": 5}}`, `the first 5`, `{"sample":{"first":5}}`},
		{`{"any": [{"path": "/a", "method": "GET"}, {"tracestate": {"a": "b"}}], "host": "h"}`, `host = "h" and ((method GET and path = "/a") or tracestate a = "b")`, `{"any":[{"method":"GET","path":"/a"},{"tracestate":{"a":"b"}}],"host":"h"}`},
		{`{"any": [{"path": "/a"}]}`, `path = "/a"`, `{"any":[{"path":"/a"}]}`},
		{`{"not": {"all": [{"path": "/a"}, {"not": {"path": "/b"}}]}}`, `not (path = "/a" and not path = "/b")`, `{"not":{"all":[{"path":"/a"},{"not":{"path":"/b"}}]}}`},
	}
	for _, tt := range tests {
		f, err := filter.Parse([]byte(tt.text))
		if tt.words == "" {
			if err == nil {
				t.Errorf("Parse(%s) = %s, want a problem", tt.text, f)
			}
			continue
		}
		if err != nil {
			t.Errorf("Parse(%s): %v", tt.text, err)
			continue
		}
		if got := f.String(); got != tt.words {
			t.Errorf("%s in words is\n     %s\nwant %s", tt.text, got, tt.words)
		}
		if got, err := json.Marshal(f); err != nil || string(got) != tt.written {
			t.Errorf("%s is written\n     %s, %v\nwant %s", tt.text, got, err, tt.written)
		}
	}
	if got := (filter.Filter{}).String(); got != "every request" {
		t.Errorf("the zero filter is %q", got)
	}
}
