package dapclient

import (
	"context"
	"fmt"
	"path/filepath"
)

// Initialize says hello as VS Code does, under the adapter's name.
func (c *Client) Initialize(ctx context.Context, adapterID string) (Message, error) {
	return c.Request(ctx, "initialize", map[string]any{
		"clientID": "testkit", "adapterID": adapterID, "linesStartAt1": true, "columnsStartAt1": true, "pathFormat": "path",
		"supportsVariableType": true, "supportsRunInTerminalRequest": true, "supportsProgressReporting": true,
	})
}

// Launch sends launch, sets the breakpoints (file to lines) when the debugger is ready for them, and lets the program run. It returns when
// the launch is answered.
func (c *Client) Launch(ctx context.Context, attributes map[string]any, breakpoints map[string][]int) error {
	seq, err := c.Send("launch", attributes)
	if err != nil {
		return err
	}
	if err := c.Configure(ctx, seq, breakpoints); err != nil {
		return err
	}
	_, err = c.Answer(ctx, seq)
	return err
}

// Configure waits for initialized, sets the breakpoints and says that this is all. It gives up when the request launch is answered by a failure.
func (c *Client) Configure(ctx context.Context, launch int, breakpoints map[string][]int) error {
	m, err := c.next(ctx, "event initialized", func(m Message) bool {
		return m.Event == "initialized" || m.Type == "response" && m.RequestSeq == launch && !m.Success
	})
	if err != nil {
		return err
	}
	if m.Type == "response" {
		_, err := c.Answer(ctx, launch)
		return err
	}
	for file, lines := range breakpoints {
		var list []map[string]int
		for _, l := range lines {
			list = append(list, map[string]int{"line": l})
		}
		source := map[string]any{"path": file, "name": filepath.Base(file)}
		answer, err := c.Request(ctx, "setBreakpoints", map[string]any{"source": source, "breakpoints": list})
		if err != nil {
			return err
		}
		var body struct {
			Breakpoints []struct {
				Verified bool   `json:"verified"`
				Message  string `json:"message"`
			} `json:"breakpoints"`
		}
		if err := answer.Decode(&body); err != nil {
			return err
		}
		for i, b := range body.Breakpoints {
			if !b.Verified {
				return fmt.Errorf("breakpoint %s:%d is not verified: %s", file, lines[i], b.Message)
			}
		}
	}
	_, err = c.Request(ctx, "configurationDone", map[string]any{})
	return err
}

// Stop is where a thread stopped.
type Stop struct {
	Reason   string `json:"reason"`
	ThreadID int    `json:"threadId"`
}

// Stopped waits until the program stops.
func (c *Client) Stopped(ctx context.Context) (Stop, error) {
	var s Stop
	m, err := c.Event(ctx, "stopped")
	if err != nil {
		return s, err
	}
	return s, m.Decode(&s)
}

// Frame is one call.
type Frame struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
	Line int    `json:"line"`
}

// Frames returns a stopped thread's calls, the innermost first.
func (c *Client) Frames(ctx context.Context, thread int) ([]Frame, error) {
	m, err := c.Request(ctx, "stackTrace", map[string]any{"threadId": thread, "startFrame": 0, "levels": 20})
	if err != nil {
		return nil, err
	}
	var body struct {
		StackFrames []Frame `json:"stackFrames"`
	}
	if err := m.Decode(&body); err != nil {
		return nil, err
	}
	if len(body.StackFrames) == 0 {
		return nil, fmt.Errorf("thread %d has no frames", thread)
	}
	return body.StackFrames, nil
}

// Variables returns the values in all scopes of a frame that are not expensive, by name.
func (c *Client) Variables(ctx context.Context, frame int) (map[string]string, error) {
	m, err := c.Request(ctx, "scopes", map[string]any{"frameId": frame})
	if err != nil {
		return nil, err
	}
	var scopes struct {
		Scopes []struct {
			Reference int  `json:"variablesReference"`
			Expensive bool `json:"expensive"`
		} `json:"scopes"`
	}
	if err := m.Decode(&scopes); err != nil {
		return nil, err
	}
	values := map[string]string{}
	for _, s := range scopes.Scopes {
		if s.Expensive {
			continue
		}
		m, err := c.Request(ctx, "variables", map[string]any{"variablesReference": s.Reference})
		if err != nil {
			return nil, err
		}
		var body struct {
			Variables []struct {
				Name  string `json:"name"`
				Value string `json:"value"`
			} `json:"variables"`
		}
		if err := m.Decode(&body); err != nil {
			return nil, err
		}
		for _, v := range body.Variables {
			values[v.Name] = v.Value
		}
	}
	return values, nil
}

// ClearBreakpoints removes the breakpoints of a file.
func (c *Client) ClearBreakpoints(ctx context.Context, file string) error {
	_, err := c.Request(ctx, "setBreakpoints", map[string]any{"source": map[string]any{"path": file}, "breakpoints": []any{}})
	return err
}

// Restart restarts the program and returns when that is answered.
func (c *Client) Restart(ctx context.Context) error {
	seq, err := c.Send("restart", map[string]any{})
	if err != nil {
		return err
	}
	if err := c.Configure(ctx, seq, nil); err != nil {
		return err
	}
	_, err = c.Answer(ctx, seq)
	return err
}

// Resume continues a stopped thread, and with it the others.
func (c *Client) Resume(ctx context.Context, thread int) error {
	_, err := c.Request(ctx, "continue", map[string]any{"threadId": thread})
	return err
}

// TopVariables returns the innermost call's variables of a stopped thread.
func (c *Client) TopVariables(ctx context.Context, thread int) (map[string]string, error) {
	frames, err := c.Frames(ctx, thread)
	if err != nil {
		return nil, err
	}
	return c.Variables(ctx, frames[0].ID)
}
