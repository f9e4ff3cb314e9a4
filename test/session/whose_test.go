//go:build linux

package session

import (
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"podstep.dev/internal/testkit/dapclient"
	"podstep.dev/internal/testkit/desk"
)

// guests are three requests that are inside at once.
func guests(http2, together bool) []question {
	var list []question
	for _, name := range []string{"ann", "ben", "eve"} {
		list = append(list, question{Method: http.MethodGet, Path: "/" + name + "?seat=1", User: name, ID: name, HTTP2: http2, Together: together})
	}
	return list
}

// TestEachThreadShowsTheRequestThatItWorksOn : three requests are inside, and the scope of each thread has its own. The program says which
// that is.
func TestEachThreadShowsTheRequestThatItWorksOn(t *testing.T) {
	goTable, pyTable := filepath.Join(root(), "test/debuggees/go/table/main.go"), filepath.Join(root(), "test/debuggees/python/table.py")
	python := func(justMyCode bool) func(*stage) map[string]any {
		return func(s *stage) map[string]any {
			return map[string]any{"type": "debugpy", "program": pyTable, "python": []string{s.Python(root())}, "console": "internalConsole", "justMyCode": justMyCode}
		}
	}
	golang := func(*stage) map[string]any {
		return map[string]any{"type": "go", "mode": "exec", "program": filepath.Join(kit, "table"), "cwd": kit}
	}
	for _, c := range []struct {
		name, adapterID, file string
		attributes            func(*stage) map[string]any
		function              string // whose frames have the variable guest
		http2, together       bool
	}{
		{"dlv", "go", goTable, golang, "main.serve", false, false},
		{"dlv HTTP2", "go", goTable, golang, "main.serve", true, false},
		{"dlv HTTP2 one connection", "go", goTable, golang, "main.serve", true, true},
		{"debugpy", "debugpy", pyTable, python(true), "do_GET", false, false},
		{"debugpy all code", "debugpy", pyTable, python(false), "do_GET", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStageOf(t, "table")
			attributes := c.attributes(s)
			maps.Copy(attributes, map[string]any{
				"request": "launch", "env": map[string]string{"ANSWERED_BY": "debuggee", "TABLE_PORT": "8080"}, "mirror": s.steal(),
			})
			d := s.Start(c.adapterID)
			if err := d.Launch(s.ctx, attributes, map[string][]int{c.file: {desk.LineOf(t, c.file, "<- all are there")}}); err != nil {
				t.Fatalf("%v\n%s", err, d.Outputs())
			}
			if _, err := d.Output(s.ctx, "the table is set"); err != nil {
				t.Fatal(err)
			}
			var clients []*asked
			if all := guests(c.http2, c.together); c.together {
				clients = append(clients, s.ask(all...))
			} else {
				for _, q := range all {
					clients = append(clients, s.ask(q))
				}
			}
			if _, err := d.Stopped(s.ctx); err != nil {
				t.Fatalf("%v\n%s", err, d.Outputs())
			}
			var threads map[string]int
			s.until("the threads of three guests are stopped", func() bool { // that of debugpy comes when they have left the lock
				threads = s.guests(d, c.function)
				return len(threads) == 3
			})
			for guest, thread := range threads {
				began := time.Now()
				request := theRequest(t, s, d, thread)
				t.Logf("thread %d of %s: %v", thread, guest, time.Since(began).Round(time.Millisecond))
				if request["header x-request-id"] != guest || request["path"] != "/"+guest {
					t.Errorf("thread %d works for %s, and its scope has %v", thread, guest, request)
				}
			}
			_, _ = d.Request(s.ctx, "disconnect", map[string]any{})
			<-d.Exited
			s.cleared()
		})
	}
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
