package requests_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"podstep.dev/adapter/borrow/requests"
)

// harObjects are the objects of HAR 1.2 that podstep writes: members with their kinds, "?" for optional ones. Kinds are those of JSON, another
// object's name, or that of the elements behind "*".
func harObjects() map[string]map[string]string {
	return map[string]map[string]string{
		"file":     {"log": "log"},
		"log":      {"version": "string", "creator": "creator", "browser": "?creator", "pages": "?*page", "entries": "*entry", "comment": "?string"},
		"creator":  {"name": "string", "version": "string", "comment": "?string"},
		"entry":    {"pageref": "?string", "startedDateTime": "string", "time": "number", "request": "request", "response": "response", "cache": "cache", "timings": "timings", "serverIPAddress": "?string", "connection": "?string", "comment": "?string"},
		"request":  {"method": "string", "url": "string", "httpVersion": "string", "cookies": "*cookie", "headers": "*record", "queryString": "*record", "postData": "?postData", "headersSize": "number", "bodySize": "number", "comment": "?string"},
		"response": {"status": "number", "statusText": "string", "httpVersion": "string", "cookies": "*cookie", "headers": "*record", "content": "content", "redirectURL": "string", "headersSize": "number", "bodySize": "number", "comment": "?string"},
		"cookie":   {"name": "string", "value": "string", "path": "?string", "domain": "?string", "expires": "?string", "httpOnly": "?boolean", "secure": "?boolean", "comment": "?string"},
		"record":   {"name": "string", "value": "string", "comment": "?string"},
		"postData": {"mimeType": "string", "params": "*param", "text": "string", "comment": "?string"},
		"param":    {"name": "string", "value": "?string", "fileName": "?string", "contentType": "?string", "comment": "?string"},
		"content":  {"size": "number", "compression": "?number", "mimeType": "string", "text": "?string", "encoding": "?string", "comment": "?string"},
		"cache":    {"beforeRequest": "?object", "afterRequest": "?object", "comment": "?string"},
		"timings":  {"blocked": "?number", "dns": "?number", "connect": "?number", "send": "number", "wait": "number", "receive": "number", "ssl": "?number", "comment": "?string"},
	}
}

func checkHAR(t *testing.T, at, kind string, value any) {
	t.Helper()
	kind = strings.TrimPrefix(kind, "?")
	if element, ok := strings.CutPrefix(kind, "*"); ok {
		list, ok := value.([]any)
		if !ok {
			t.Errorf("%s is %T, want a list", at, value)
		}
		for _, v := range list {
			checkHAR(t, at+"[]", element, v)
		}
		return
	}
	members, isObject := harObjects()[kind]
	if !isObject {
		got := map[bool]string{}
		switch value.(type) {
		case string:
			got[true] = "string"
		case float64:
			got[true] = "number"
		case bool:
			got[true] = "boolean"
		}
		if got[true] != kind {
			t.Errorf("%s is %T, want %s", at, value, kind)
		}
		return
	}
	object, ok := value.(map[string]any)
	if !ok {
		t.Errorf("%s is %T, want an object", at, value)
	}
	for name, kind := range members {
		if v, has := object[name]; has {
			checkHAR(t, at+"."+name, kind, v)
		} else if !strings.HasPrefix(kind, "?") {
			t.Errorf("%s has no %s", at, name)
		}
	}
	for name := range object {
		if members[name] == "" && !strings.HasPrefix(name, "_") {
			t.Errorf("%s has %s, which the specification has not", at, name)
		}
	}
}

func TestHARIsAsTheSpecificationHasIt(t *testing.T) {
	l := requests.New(requests.Options{})
	come(l, get, ok)
	come(l, post, "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Type: image/png\r\n\r\n\x00\x01")
	come(l, "PUT / HTTP/1.1\r\nHost: x\r\n\r\n\x00", "HTTP/1.1 204 No Content\r\n\r\n")
	never := l.Begin(header())
	never.Request([]byte(get))
	never.Went(requests.Target, "debugger stopped")
	never.End(errors.New("reset"))
	l.Begin(header())
	text, err := json.Marshal(requests.NewHAR(l.Entries(requests.Masked)))
	if err != nil {
		t.Fatal(err)
	}
	var file any
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	checkHAR(t, "file", "file", file)
	if strings.Contains(string(text), "s3cret") {
		t.Errorf("there is a secret in %s", text)
	}
	har := requests.NewHAR(l.Entries(requests.Plain))
	if len(har.Log.Entries) != 5 || har.Log.Version != "1.2" {
		t.Fatalf("%+v", har.Log)
	}
	first, second := har.Log.Entries[0], har.Log.Entries[1]
	if first.Request.URL != "http://shop/cart?id=7&access_token=s3cret" || !slices.Contains(first.Request.Cookies, requests.HARCookie{Name: "b", Value: "s3cret"}) ||
		!slices.Contains(first.Response.Cookies, requests.HARCookie{Name: "sid", Value: "s3cret"}) || first.Response.StatusText != "OK" {
		t.Errorf("%+v", first)
	}
	if c := second.Response.Content; second.Response.RedirectURL != "/x" || c.Encoding != "base64" || c.Text != "AAE=" || second.Request.PostData.Text != "it's\n1" {
		t.Errorf("%+v", second)
	}
	if _, err := time.Parse(time.RFC3339, first.StartedDateTime); err != nil {
		t.Error(err)
	}
}
