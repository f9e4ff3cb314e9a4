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

// Succeed answers request with body, which may be nil.
func Succeed(request Message, body any) Message {
	fields := map[string]any{"seq": 0, "type": Response, "request_seq": request.Seq, "success": true, "command": request.Command}
	if body != nil {
		fields["body"] = body
	}
	return author(fields)
}

// Fail answers request with p.
func Fail(request Message, p Problem) Message {
	return author(dap.ErrorResponse{
		Response: dap.Response{
			ProtocolMessage: dap.ProtocolMessage{Type: Response}, RequestSeq: request.Seq, Command: request.Command, Message: p.Text,
		},
		Body: dap.ErrorResponseBody{Error: &dap.ErrorMessage{Id: p.ID, Format: format(p.Text), ShowUser: !p.Silent}},
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

// Ask makes a request of podstep's own.
func Ask(command string, arguments any) Message {
	fields := map[string]any{"seq": 0, "type": Request, "command": command}
	if arguments != nil {
		fields["arguments"] = arguments
	}
	return author(fields)
}

// AskDisconnect makes the request that ends a debugger and its debuggee.
func AskDisconnect(restart bool) Message {
	return Ask("disconnect", dap.DisconnectArguments{Restart: restart, TerminateDebuggee: true})
}

// Tell makes an event with body, which may be nil.
func Tell(name string, body any) Message {
	fields := map[string]any{"seq": 0, "type": Event, "event": name}
	if body != nil {
		fields["body"] = body
	}
	return author(fields)
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
