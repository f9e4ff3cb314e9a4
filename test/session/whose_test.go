//go:build linux

package session

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"podstep.dev/internal/testkit/dapclient"
	"podstep.dev/internal/testkit/desk"
	"podstep.dev/internal/testkit/pod"
)

// guests are three requests that are inside at once.
func guests(http2, together bool) []question {
	var list []question
	for _, name := range []string{"ann", "ben", "eve"} {
		list = append(list, question{Method: http.MethodGet, Path: "/" + name + "?seat=1", User: name, ID: name, HTTP2: http2, Together: together})
	}
	return list
}

// tableCase is a program that three guests come to, with its debugger.
type tableCase struct {
	name, adapterID, file, line string
	function                    string // whose frames have the variable guest
	attributes                  map[string]any
	come                        func(*stage)
}

func (c tableCase) launch(t *testing.T) (*stage, *desk.Session) {
	t.Helper()
	s := newStageOf(t, "table")
	attributes := map[string]any{
		"type": c.adapterID, "request": "launch", "env": map[string]string{"ANSWERED_BY": "debuggee", "TABLE_PORT": "8080"}, "mirror": s.steal(),
	}
	maps.Copy(attributes, c.attributes)
	if c.adapterID == "debugpy" {
		attributes["python"] = []string{s.Python(root())}
	}
	d := s.Start(c.adapterID)
	if err := d.Launch(s.ctx, attributes, map[string][]int{c.file: {desk.LineOf(t, c.file, c.line)}}); err != nil {
		t.Fatalf("%v\n%s", err, d.Outputs())
	}
	if _, err := d.Output(s.ctx, "the table is set"); err != nil {
		t.Fatal(err)
	}
	c.come(s)
	if _, err := d.Stopped(s.ctx); err != nil {
		t.Fatalf("%v\n%s", err, d.Outputs())
	}
	return s, d
}

// alone has each guest come on a connection of its own, and together has all come on one.
func alone(http2 bool) func(*stage) {
	return func(s *stage) {
		for _, q := range guests(http2, false) {
			s.ask(q)
		}
	}
}

func together(s *stage) { s.ask(guests(true, true)...) }

// TestEachThreadShowsTheRequestThatItWorksOn : three requests are inside, and the scope of each thread has its own. The program says which
// that is.
func TestEachThreadShowsTheRequestThatItWorksOn(t *testing.T) {
	const line = "<- all are there"
	goTable, pyTable, grpcTable := filepath.Join(root(), "test/debuggees/go/table/main.go"), filepath.Join(root(), "test/debuggees/python/table.py"), filepath.Join(root(), "test/debuggees/grpc/main.go")
	grpc := filepath.Join(kit, "grpc")
	if err := desk.Build(filepath.Dir(grpcTable), grpc, ".", "-gcflags=all=-N -l"); err != nil {
		t.Fatal(err)
	}
	golang := map[string]any{"mode": "exec", "program": filepath.Join(kit, "table"), "cwd": kit}
	goGRPC := map[string]any{"mode": "exec", "program": grpc, "cwd": kit, "args": []string{"serve", "debuggee", "8080"}}
	python := func(justMyCode bool) map[string]any {
		return map[string]any{"program": pyTable, "console": "internalConsole", "justMyCode": justMyCode}
	}
	for _, c := range []tableCase{
		{"dlv", "go", goTable, line, "main.serve", golang, alone(false)},
		{"dlv HTTP2", "go", goTable, line, "main.serve", golang, alone(true)},
		{"dlv HTTP2 on one connection", "go", goTable, line, "main.serve", golang, together},
		{"dlv gRPC", "go", grpcTable, line, "main.(*server).unary", goGRPC, seated},
		{"debugpy", "debugpy", pyTable, line, "do_GET", python(true), alone(false)},
		{"debugpy all code", "debugpy", pyTable, line, "do_GET", python(false), alone(false)},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, d := c.launch(t)
			var threads map[string]int
			s.until("the threads of three guests are stopped", func() bool { // those of debugpy are when they have left the lock
				threads = s.guests(d, c.function)
				return len(threads) == 3
			})
			for guest, thread := range threads {
				if request := theRequest(t, s, d, thread); request["header x-request-id"] != guest {
					t.Errorf("thread %d works for %s, and its scope has %v", thread, guest, request)
				}
			}
			_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
			<-d.Exited
			s.cleared()
		})
	}
}

// seated has three guests call over gRPC on one connection.
func seated(s *stage) {
	s.t.Helper()
	proc, err := s.pod.Exec(pod.Command{Args: []string{filepath.Join(kit, "grpc"), "seat", podAddress + ":80", "ann", "ben", "eve"}, Stderr: os.Stderr})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = proc.Signal(9)
		proc.Wait()
	})
}

// TestAGoroutineThatAHandlerStartedListsAll : whose it is cannot be told, and is not guessed.
func TestAGoroutineThatAHandlerStartedListsAll(t *testing.T) {
	file := filepath.Join(root(), "test/debuggees/go/table/main.go")
	attributes := map[string]any{"mode": "exec", "program": filepath.Join(kit, "table"), "cwd": kit}
	s, d := tableCase{"", "go", file, "<- in a goroutine", "", attributes, alone(false)}.launch(t)
	threads := s.guests(d, "main.pay")
	if len(threads) == 0 {
		t.Fatal("nobody pays")
	}
	for guest, thread := range threads {
		frames, err := d.Frames(s.ctx, thread)
		if err != nil {
			t.Fatal(err)
		}
		var body struct{ Scopes []struct{ Name string } }
		decode(t, s, d, &body, "scopes", map[string]any{"frameId": frames[0].ID})
		if last := body.Scopes[len(body.Scopes)-1]; last.Name != "Requests (3 inside)" {
			t.Errorf("what %s pays in shows %v", guest, body.Scopes)
		}
	}
	_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
	<-d.Exited
	s.cleared()
}

// guests are the threads that work for somebody: those with the variable guest in a frame of that function, by its value.
func (s *stage) guests(d *desk.Session, function string) map[string]int {
	s.t.Helper()
	var body struct{ Threads []struct{ ID int } }
	decode(s.t, s, d, &body, "threads", map[string]any{})
	threads := map[string]int{}
	for _, thread := range body.Threads {
		frames, err := d.Frames(s.ctx, thread.ID)
		i := slices.IndexFunc(frames, func(f dapclient.Frame) bool { return f.Name == function })
		if err != nil || i < 0 {
			continue
		}
		variables, err := d.Variables(s.ctx, frames[i].ID)
		if err != nil {
			s.t.Fatal(err)
		}
		if guest := strings.Trim(variables["guest"], `"'`); guest != "" {
			threads[guest] = thread.ID
		}
	}
	return threads
}
