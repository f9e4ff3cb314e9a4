package adapter

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/dap"
	"podstep.dev/adapter/debugger"
)

// The variables of requests have references of podstep's own, in the upper part of what the protocol allows (2^31-1): debuggers count from below.
const (
	firstReference = 2_000_000_000
	perSlot        = 4 // references of one request
	// keptSlots bounds how many requests can be looked at behind the scopes that were told last.
	keptSlots = 64
	// maxBody is how much of a body a variable shows, in bytes.
	maxBody = 16 << 10
)

// inside is what the editor can look at: the requests that the debuggee had when the editor asked for scopes.
type inside struct {
	last  int          // slots so far
	slots map[int]slot // by number, from 1
	now   []int        // the slots of the requests that were inside at last
}

// slot is one request as it was shown.
type slot struct{ requests.Entry }

// put gives each entry a slot, the one it has already if it has.
func (i *inside) put(entries []requests.Entry) {
	if i.slots == nil {
		i.slots = map[int]slot{}
	}
	i.now = nil
	for _, e := range entries {
		n := i.find(e.ID)
		if n == 0 {
			i.last++
			n = i.last
		}
		i.slots[n] = slot{e}
		i.now = append(i.now, n)
	}
	maps.DeleteFunc(i.slots, func(n int, _ slot) bool { return n <= i.last-keptSlots && !slices.Contains(i.now, n) })
}

func (i *inside) find(id uint64) int {
	for n, s := range i.slots {
		if s.ID == id {
			return n
		}
	}
	return 0
}

// looked follows lookInside: it passes the debugger's answer to scopes on, with a scope for the requests that the debuggee has at this moment.
func (s *session) looked(l lookInside, entries []requests.Entry) []action {
	if g := (glimpse{l, entries}); takesReferences(l.answer) || !s.whose(g) {
		s.show(g, debugger.Served{})
	}
	return s.take()
}

// show answers scopes, with what is known of the request that the thread has.
func (s *session) show(g glimpse, served debugger.Served) {
	answer := g.look.answer
	switch {
	case takesReferences(answer): // then none of them is podstep's
		s.inside = inside{}
	case len(g.entries) > 0:
		s.inside.put(g.entries)
		answer = withScope(answer, s.inside.scope(candidates(served, g.entries), served.Peer.IsValid()))
	}
	s.do(toEditor{answer.Answering(s.editor.next(), g.look.requestSeq)})
}

// takesReferences reports whether the debugger has come to podstep's references itself.
func takesReferences(answer dap.Message) bool {
	var body struct {
		Scopes []scope `json:"scopes"`
	}
	_ = answer.Decode("body", &body) // an answer of another form gets no scope
	return slices.ContainsFunc(body.Scopes, func(s scope) bool { return s.VariablesReference >= firstReference })
}

// scope is what DAP calls so.
type scope struct {
	Name               string `json:"name"`
	VariablesReference int    `json:"variablesReference"`
	NamedVariables     int    `json:"namedVariables,omitempty"`
	Expensive          bool   `json:"expensive"`
}

// scope lists the requests by names that no program has: editors show the values of a scope's variables beside the names in the source. candidates
// are those that the thread can have, if that is known.
func (i *inside) scope(candidates []requests.Entry, known bool) scope {
	switch {
	case len(candidates) == 1:
		return scope{Name: "Request", VariablesReference: reference(i.find(candidates[0].ID), alone), NamedVariables: 1}
	case len(candidates) > 1:
		name := fmt.Sprintf("Requests (%d of %d inside)", len(candidates), len(i.now))
		return scope{Name: name, VariablesReference: reference(i.find(candidates[0].ID), together), NamedVariables: len(candidates)}
	case len(i.now) == 1 && !known:
		return scope{Name: "Request", VariablesReference: reference(i.now[0], alone), NamedVariables: 1}
	}
	return scope{Name: fmt.Sprintf("Requests (%d inside)", len(i.now)), VariablesReference: firstReference, NamedVariables: len(i.now)}
}

// The parts of a slot.
const (
	itself   = iota
	fields   // of its head
	alone    // a list with it
	together // a list with all of its connection
)

// reference numbers the parts of the slots.
func reference(slot, part int) int { return firstReference + slot*perSlot + part }

// withScope appends a scope to an answer.
func withScope(answer dap.Message, ours scope) dap.Message {
	body, err := debugger.ParseAttributes(answer.Field("body"))
	if err != nil {
		return answer
	}
	list := bytes.TrimSpace(body.Value("scopes"))
	element, err := json.Marshal(ours)
	if err != nil || len(list) < 2 || list[0] != '[' {
		return answer
	}
	longer := bytes.TrimSpace(list[1 : len(list)-1])
	if len(longer) > 0 {
		longer = append(bytes.Clone(longer), ',')
	}
	scopes := json.RawMessage("[" + string(longer) + string(element) + "]")
	patched, err := dap.Parse(answer.With(dap.Field{Name: "body", Value: body.With("scopes", scopes).Raw()}))
	if err != nil {
		return answer
	}
	return patched
}

// variable is what DAP calls so.
type variable struct {
	Name               string           `json:"name"`
	Value              string           `json:"value"`
	Type               string           `json:"type,omitempty"`
	PresentationHint   presentationHint `json:"presentationHint"`
	VariablesReference int              `json:"variablesReference"`
	NamedVariables     int              `json:"namedVariables,omitempty"`
}

type presentationHint struct {
	Attributes []string `json:"attributes"`
}

// variablesRequested answers a request about variables of podstep's own, and reports whether it is one.
func (s *session) variablesRequested(m dap.Message) bool {
	var which struct {
		VariablesReference int    `json:"variablesReference"`
		Filter             string `json:"filter"`
		Start              int    `json:"start"`
		Count              int    `json:"count"`
	}
	if m.Decode("arguments", &which) != nil || which.VariablesReference < firstReference {
		return false
	}
	list, ours := s.inside.variables(which.VariablesReference)
	switch {
	case !ours:
		return false
	case m.Command == "setVariable":
		s.failQuietly(m, "a request that came cannot be changed; podstep requests replay --edit sends another one")
		return true
	case which.Filter == "indexed":
		list = nil
	}
	from := min(max(which.Start, 0), len(list))
	list = list[from:]
	if which.Count > 0 && which.Count < len(list) {
		list = list[:which.Count]
	}
	if list == nil {
		list = []variable{}
	}
	s.succeed(m, map[string]any{"variables": list})
	return true
}

// variables returns those of a reference, if it is known.
func (i *inside) variables(ref int) ([]variable, bool) {
	n, part := (ref-firstReference)/perSlot, (ref-firstReference)%perSlot
	s, ok := i.slots[n]
	switch {
	case ref == firstReference:
		return i.list(i.now), len(i.now) > 0
	case !ok:
		return nil, false
	case part == itself:
		return s.variables(reference(n, fields)), true
	case part == fields:
		return s.fields(), true
	case part == alone:
		return i.list([]int{n}), true
	}
	return i.list(slices.DeleteFunc(slices.Clone(i.now), func(other int) bool { return i.slots[other].Seen.Peer != s.Seen.Peer })), true
}

// list lists requests by their slots.
func (i *inside) list(slots []int) (list []variable) {
	for _, n := range slots {
		s := i.slots[n]
		list = append(list, nested(fmt.Sprintf("#%d", s.ID), s.title(), reference(n, itself), 0))
	}
	return list
}

func (s slot) variables(fields int) []variable {
	list := []variable{
		plain("id", fmt.Sprint(s.ID)), plain("method", s.Method), plain("path", s.Path), plain("query", s.Query),
		plain("protocol", s.Protocol), plain("peer", peer(s.Summary)), plain("port", fmt.Sprint(s.Port)), plain("came", s.Came.Local().Format("15:04:05.000")),
		nested("headers", fmt.Sprintf("%d fields", len(s.Request.Fields)), fields, len(s.Request.Fields)),
		plain("body", bodyText(s.Request.Body)),
	}
	if s.ReplayOf != 0 {
		list = append(list, plain("replayOf", fmt.Sprint(s.ReplayOf)))
	}
	return list
}

func (s slot) fields() []variable {
	var list []variable
	for _, f := range s.Request.Fields {
		list = append(list, plain(f.Name, f.Value))
	}
	return list
}

// title says which request it is.
func (s slot) title() string {
	title := s.Method + " " + s.Path
	if s.Query != "" {
		title += "?" + s.Query
	}
	if s.Peer.IsValid() {
		title += " from " + s.Peer.String()
	}
	return title
}

func peer(s requests.Summary) string {
	if !s.Peer.IsValid() {
		return ""
	}
	return s.Peer.String()
}

func bodyText(b requests.Body) string {
	text := b.Text
	switch {
	case b.Binary != nil:
		return fmt.Sprintf("(%d bytes that are no text)", b.Size)
	case len(text) > maxBody:
		text = strings.ToValidUTF8(text[:maxBody], "")
		return fmt.Sprintf("%s… (%d bytes)", text, b.Size)
	case b.Cut:
		return fmt.Sprintf("%s… (%d bytes)", text, b.Size)
	}
	return text
}

func plain(name, value string) variable {
	return variable{Name: cmp.Or(name, "(none)"), Value: value, Type: "string", PresentationHint: presentationHint{[]string{"readOnly"}}}
}

func nested(name, value string, ref, named int) variable {
	v := plain(name, value)
	v.Type, v.VariablesReference, v.NamedVariables = "", ref, named
	return v
}
