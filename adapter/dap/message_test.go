package dap

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParseReadsTheEnvelopeAlone(t *testing.T) {
	raw := []byte(` { "seq" : 7, "type":"response", "request_seq":3, "command":"next","success":true, "body":{"seq":99,"deep":[{"type":"event"}]}, "statistics":{} } `)
	m, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if m.Seq != 7 || m.Type != Response || m.RequestSeq != 3 || m.Command != "next" || !m.Success {
		t.Errorf("%+v", m)
	}
	if got := string(m.Field("body")); got != `{"seq":99,"deep":[{"type":"event"}]}` {
		t.Errorf("body %s", got)
	}
	if m.Field("arguments") != nil {
		t.Error("a field that is not there")
	}
}

func TestParseRefusesWhatIsNoMessage(t *testing.T) {
	for _, raw := range []string{
		``, `null`, `[]`, `1`, `{`, `{"seq":1}`, `{"seq":1,"type":"event"}`, `{"seq":1,"type":"request"}`, `{"seq":"1","type":"event","event":"x"}`,
		`{"seq":1,"type":"gossip","event":"x"}`, `{"seq":1,"type":"event","event":"x"} {}`,
	} {
		if m, err := Parse([]byte(raw)); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %+v, %v", raw, m, err)
		}
	}
}

func TestPatchingKeepsEveryOtherByte(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		// What typed structs lose: false, 0, "", unknown members, order, spacing, escapes, numbers beyond float64.
		{
			`{"event":"continued","body":{"threadId":0,"allThreadsContinued":false,"x":""},"$__lldb_extensions":{},"seq":4,"type":"event"}`,
			`{"event":"continued","body":{"threadId":0,"allThreadsContinued":false,"x":""},"$__lldb_extensions":{},"seq":42,"type":"event"}`,
		},
		{
			"{\n\t\"seq\" : 12 ,\"type\":\"event\",\"event\":\"output\",\"body\":{\"output\":\"\\u003cb\\u003e\\\"seq\\\":1 \u00e9\",\"n\":12345678901234567890}}\n",
			"{\n\t\"seq\" : 42 ,\"type\":\"event\",\"event\":\"output\",\"body\":{\"output\":\"\\u003cb\\u003e\\\"seq\\\":1 \u00e9\",\"n\":12345678901234567890}}\n",
		},
		{`{"type":"event","event":"initialized"}`, `{"seq":42,"type":"event","event":"initialized"}`},
		{`{"seq":1,"seq":2,"type":"event","event":"e"}`, `{"seq":42,"seq":42,"type":"event","event":"e"}`},
		{`{"s\u0065q":1,"type":"event","event":"e"}`, `{"s\u0065q":42,"type":"event","event":"e"}`},
	} {
		m, err := Parse([]byte(test.in))
		if err != nil {
			t.Fatalf("%s: %v", test.in, err)
		}
		if got := string(m.Numbered(42)); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
		if string(m.Raw) != test.in {
			t.Errorf("the message itself changed: %s", m.Raw)
		}
	}
}

func TestAnsweringSetsBothNumbers(t *testing.T) {
	m, err := Parse([]byte(`{"request_seq":5,"success":false,"type":"response","command":"x"}`)) // rdbg sends no seq
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(m.Answering(8, 9)), `{"seq":8,"request_seq":9,"success":false,"type":"response","command":"x"}`; got != want {
		t.Errorf("got %s", got)
	}
}

func TestWithSetsSeveralMembersOfAnEmptyObject(t *testing.T) {
	m := Message{Raw: []byte(`{}`)}
	if got, want := string(m.With(Field{"a", json.RawMessage("1")}, Field{"b", json.RawMessage("2")})), `{"a":1,"b":2}`; got != want {
		t.Errorf("got %s", got)
	}
}

func TestFailSaysIDTextAndWhetherToShow(t *testing.T) {
	m := Fail(Message{Seq: 3, Command: "launch"}, Problem{ID: 4001, Text: "no {dlv}\nInstall it.", Silent: true})
	want := `{"seq":0,"type":"response","request_seq":3,"success":false,"command":"launch","message":"no {dlv}\nInstall it.","body":{"error":{"id":4001,"format":"no (dlv)\nInstall it.","showUser":false}}}`
	if string(m.Raw) != want {
		t.Errorf("got %s", m.Raw)
	}
}

func FuzzPatch(f *testing.F) {
	for _, s := range []string{
		`{"seq":1,"type":"event","event":"x","body":{"a":[1,2,{"seq":3}]}}`, `{"type":"request","command":"c","seq":1}`, `{"a\\\"b":"}{","seq":0,"type":"response"}`,
		"{\"seq\":1e2,\"type\":\"event\",\"event\":\"\\ud800\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		kept := bytes.Clone(raw)
		m, err := Parse(raw)
		if err != nil {
			return
		}
		got := m.Answering(1234, 5678)
		if !bytes.Equal(raw, kept) {
			t.Fatal("the input changed")
		}
		var before, after map[string]json.RawMessage
		if err := json.Unmarshal(raw, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%q became %q: %v", raw, got, err)
		}
		if string(after["seq"]) != "1234" || string(after["request_seq"]) != "5678" {
			t.Fatalf("%q became %q", raw, got)
		}
		for _, own := range []string{"seq", "request_seq"} {
			delete(before, own)
			delete(after, own)
		}
		if !reflect.DeepEqual(before, after) {
			t.Fatalf("%q became %q", raw, got)
		}
		if m.Field("seq") != nil && m.Field("request_seq") != nil && strings.Count(string(raw), "seq") == 2 {
			if p, err := Parse(got); err != nil || !bytes.Equal(p.Answering(m.Seq, m.RequestSeq), m.Answering(m.Seq, m.RequestSeq)) {
				t.Fatalf("%q does not come back from %q", raw, got)
			}
		}
	})
}
