package dap

import (
	"encoding/json"
	"fmt"

	"github.com/google/go-dap"
)

// The functions below write podstep's own messages. Their seq is 0: whoever sends them numbers them.

// Problem is an error as the editor shows it.
type Problem struct {
	// ID is stable, for people to look up.
	ID int
	// Text is what the person reads.
	Text string
	// Silent keeps the editor from showing it: somebody asked for it to fail.
	Silent bool
}

// The protocol's bodies differ by message, so these leave theirs open.
type (
	response struct {
		dap.Response
		Body any `json:"body,omitempty"`
	}
	request struct {
		dap.Request
		Arguments any `json:"arguments,omitempty"`
	}
	event struct {
		dap.Event
		Body any `json:"body,omitempty"`
	}
)

// answer is the head of an answer to m.
func answer(m Message, success bool, text string) dap.Response {
	return dap.Response{
		ProtocolMessage: dap.ProtocolMessage{Type: Response}, RequestSeq: m.Seq, Success: success, Command: m.Command, Message: text,
	}
}

// Succeed answers m with body, which may be nil.
func Succeed(m Message, body any) Message {
	return author(response{Response: answer(m, true, ""), Body: body})
}

// Fail answers m with p.
func Fail(m Message, p Problem) Message {
	return author(dap.ErrorResponse{
		Response: answer(m, false, p.Text),
		Body:     dap.ErrorResponseBody{Error: &dap.ErrorMessage{Id: p.ID, Format: format(p.Text), ShowUser: !p.Silent}},
	})
}

// format escapes text where the protocol's format strings take {name} as a variable: there is no escape, so braces become parentheses.
func format(text string) string {
	out := []rune(text)
	for i, r := range out {
		switch r {
		case '{':
			out[i] = '('
		case '}':
			out[i] = ')'
		}
	}
	return string(out)
}

// Ask makes a request of podstep's own. arguments may be nil.
func Ask(command string, arguments any) Message {
	return author(request{dap.Request{ProtocolMessage: dap.ProtocolMessage{Type: Request}, Command: command}, arguments})
}

// AskDisconnect makes the request that ends a debugger and its debuggee.
func AskDisconnect(restart bool) Message {
	return Ask("disconnect", dap.DisconnectArguments{Restart: restart, TerminateDebuggee: true})
}

// Tell makes an event with body, which may be nil.
func Tell(name string, body any) Message {
	return author(event{dap.Event{ProtocolMessage: dap.ProtocolMessage{Type: Event}, Event: name}, body})
}

// Output makes an output event. Categories: "console", "important", "stdout", "stderr".
func Output(category, text string) Message {
	return Tell("output", dap.OutputEventBody{Category: category, Output: text})
}

// Terminated makes the event that says debugging is over.
func Terminated() Message { return Tell("terminated", nil) }

// ProgressStart makes the event that begins a progress. Its requestId stays unset: clients that see one expect the end with the answer.
func ProgressStart(id, title, message string, cancellable bool) Message {
	return Tell("progressStart", dap.ProgressStartEventBody{ProgressId: id, Title: title, Message: message, Cancellable: cancellable})
}

// ProgressUpdate makes the event that changes a progress's text.
func ProgressUpdate(id, message string) Message {
	return Tell("progressUpdate", dap.ProgressUpdateEventBody{ProgressId: id, Message: message})
}

// ProgressEnd makes the event that ends a progress.
func ProgressEnd(id string) Message {
	return Tell("progressEnd", dap.ProgressEndEventBody{ProgressId: id})
}

// Capabilities makes the event that changes what the editor was told at initialize.
func Capabilities(changed json.RawMessage) Message {
	return Tell("capabilities", map[string]json.RawMessage{"capabilities": changed})
}

// Continued makes the event that every thread runs.
func Continued(thread int) Message {
	return Tell("continued", dap.ContinuedEventBody{ThreadId: thread, AllThreadsContinued: true})
}

// ThreadExited makes the event that a thread is gone.
func ThreadExited(thread int) Message {
	return Tell("thread", dap.ThreadEventBody{Reason: "exited", ThreadId: thread})
}

// author encodes and parses what podstep wrote itself.
func author(message any) Message {
	raw, err := json.Marshal(message)
	if err != nil {
		panic(fmt.Sprintf("a message of our own does not encode: %v", err)) // only for bodies that are no JSON, which no caller passes
	}
	m, err := Parse(raw)
	if err != nil {
		panic(fmt.Sprintf("a message of our own does not parse: %v", err))
	}
	return m
}
