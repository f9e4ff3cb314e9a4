package adapter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"podstep.dev/adapter/dap"
	"podstep.dev/internal/testkit"
)

func TestServePassesMessagesAsTheyAre(t *testing.T) {
	// What typed structs lose or refuse: over 4 MiB, false and 0, unknown members, odd spacing.
	body := `{ "odd" : [ 0, false, "", null ], "big":"` + strings.Repeat("\\u003c", 1_000_000) + `" }`
	seen := make(chan string, 1)
	b, ctx := withFake(t, &fake{play: func(f *fake) error {
		if err := f.upToLaunch(); err != nil {
			return err
		}
		m, err := f.next("source")
		if err != nil {
			return err
		}
		seen <- string(m.Field("arguments"))
		return errors.Join(f.send(fmt.Sprintf(`{"seq":9,"request_seq":%d,"type":"response","success":true,"command":"source","body":%s}`, m.Seq, body)),
			func() error { _, err := f.next("never"); return err }())
	}})
	answer := b.request(ctx, "source", map[string]any{"allThreadsContinued": false, "sourceReference": 0, "html": "<&>"})
	if string(answer.Body) != body {
		t.Errorf("the body of %d bytes became one of %d", len(body), len(answer.Body))
	}
	if got, want := <-seen, `{"allThreadsContinued":false,"html":"\u003c\u0026\u003e","sourceReference":0}`; got != want {
		t.Errorf("arguments %s, want %s", got, want)
	}
	check(t, b.Close())
	b.over(nil)
}

func TestServeBoundsWhatWaitsForAnEditorThatDoesNotRead(t *testing.T) {
	const events = 150_000 // of 100 bytes and more: several times what may wait
	var sent atomic.Int64
	f := &fake{play: func(f *fake) error {
		if err := f.upToLaunch(); err != nil {
			return err
		}
		for i := range events {
			if err := f.send(fmt.Sprintf(`{"seq":%d,"type":"event","event":"output","body":{"category":"stdout","output":"%060d"}}`, i, i)); err != nil {
				return err
			}
			sent.Store(int64(i))
		}
		_, err := f.next("never")
		return err
	}}
	theirs, editor := pipeEditor(t)
	served := make(chan error, 1)
	go func() {
		served <- Serve(t.Context(), theirs, Options{
			Log: zaptest.NewLogger(t), Start: f.start,
			Begin: func(context.Context, Wish) (Borrow, error) {
				return &fakeBorrow{dir: sessionDir(t), done: make(chan struct{})}, nil
			},
		})
	}()
	check(t, editor.send("initialize", map[string]any{"adapterID": "debugpy"}))
	check(t, editor.send("launch", fakeLaunch(t)))
	// The debugger gets stuck long before it has sent everything, because nobody reads.
	stuck, last := 0, int64(0)
	testkit.Eventually(t, "the debugger waits", func() bool {
		now := sent.Load()
		if now != last {
			stuck, last = 0, now
		}
		stuck++
		return now > 0 && stuck > 100
	})
	if last*130 > 3*outboxRoom {
		t.Errorf("%d events were taken from the debugger", last)
	}
	// Now the editor reads: everything is there, in order.
	reader, next := dap.NewReader(editor.in, 0), 0
	for next < events {
		raw, err := reader.Read()
		check(t, err)
		if bytes.Contains(raw, []byte(`"stdout"`)) {
			if !bytes.Contains(raw, fmt.Appendf(nil, `"%060d"`, next)) {
				t.Fatalf("event %d: %s", next, raw)
			}
			next++
		}
	}
	check(t, editor.out.Close())
	check(t, <-served)
}

func TestServeLocksNobodyUpThatWritesBeforeReading(t *testing.T) {
	const count, size = 2000, 1000
	line := strings.Repeat("x", size)
	f := &fake{play: func(f *fake) error {
		if err := f.upToLaunch(); err != nil {
			return err
		}
		for i := range count {
			if err := f.send(fmt.Sprintf(`{"seq":%d,"type":"event","event":"output","body":{"output":%q}}`, i, line)); err != nil {
				return err
			}
		}
		for range count {
			m, err := f.next("evaluate")
			if err != nil {
				return err
			}
			if err := f.answer(m); err != nil {
				return err
			}
		}
		_, err := f.next("never")
		return err
	}}
	theirs, editor := pipeEditor(t)
	served := make(chan error, 1)
	go func() {
		served <- Serve(t.Context(), theirs, Options{Log: zaptest.NewLogger(t), Start: f.start, Begin: func(context.Context, Wish) (Borrow, error) {
			return &fakeBorrow{dir: sessionDir(t), done: make(chan struct{})}, nil
		}})
	}()
	check(t, editor.send("initialize", map[string]any{"adapterID": "debugpy"}))
	check(t, editor.send("launch", fakeLaunch(t)))
	for range count {
		check(t, editor.send("evaluate", map[string]any{"expression": line}))
	}
	reader, answers := dap.NewReader(editor.in, 0), 0
	for answers < count {
		raw, err := reader.Read()
		check(t, err)
		if m, err := dap.Parse(raw); err == nil && m.Command == "evaluate" {
			answers++
		}
	}
	check(t, editor.out.Close())
	check(t, <-served)
}

func TestServeEndsAnEditorThatSpeaksAnotherProtocol(t *testing.T) {
	theirs, editor := pipeEditor(t)
	served := make(chan error, 1)
	go func() { served <- Serve(t.Context(), theirs, Options{Log: zaptest.NewLogger(t)}) }()
	go func() { _, _ = editor.out.Write(bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 10_000)) }()
	select {
	case err := <-served:
		if !errors.Is(err, dap.ErrHeader) {
			t.Errorf("got %v", err)
		}
	case <-time.After(testkit.Patience):
		t.Fatal("Serve did not return")
	}
}

func TestServeShowsWhatADebuggerPrintsInWholeCharacters(t *testing.T) {
	b, ctx := withFake(t, &fake{play: func(f *fake) error {
		for _, part := range []string{"gr\xc3", "\xbc\xc3\x9fe \xf0\x9f", "\x90\xb3", "\n", "end\xff\n"} {
			if _, err := f.stderr.WriteString(part); err != nil {
				return err
			}
		}
		if err := f.upToLaunch(); err != nil {
			return err
		}
		_, err := f.next("never")
		return err
	}})
	if out, err := b.Output(ctx, "grüße 🐳\nend\ufffd\n"); err != nil {
		t.Errorf("%q: %v", out, err)
	}
	check(t, b.Close())
	b.over(nil)
}

func TestServeTakesTheLastWordsOfADebuggerThatExits(t *testing.T) {
	b, ctx := withFake(t, &fake{play: func(f *fake) error {
		if err := f.upToLaunch(); err != nil {
			return err
		}
		m, err := f.next("disconnect")
		if err != nil {
			return err
		}
		return errors.Join(f.send(`{"seq":5,"type":"event","event":"exited","body":{"exitCode":0}}`), f.answer(m))
	}})
	b.request(ctx, "disconnect", nil)
	if b.Count("exited") != 1 {
		t.Error("what the debugger said before it exited is lost")
	}
	b.over(nil)
}

func TestServeAnswersDisconnectForADebuggerThatDoesNot(t *testing.T) {
	b, ctx := withFake(t, &fake{play: func(f *fake) error {
		if err := f.upToLaunch(); err != nil {
			return err
		}
		if _, err := f.next("disconnect"); err != nil {
			return err
		}
		_, err := f.next("never")
		return err
	}})
	begun := time.Now()
	b.request(ctx, "disconnect", nil)
	if took := time.Since(begun); took < answerAfter || took > 1900*time.Millisecond { // VS Code's patience is 2 s
		t.Errorf("the answer took %v", took)
	}
	b.over(nil)
}

func TestServeReturnsWhenSomethingHangs(t *testing.T) {
	b, ctx := withFake(t, &fake{play: func(f *fake) error {
		if err := f.upToLaunch(); err != nil {
			return err
		}
		_, err := f.next("never")
		return err
	}})
	b.borrow.hang = make(chan struct{})
	t.Cleanup(func() { close(b.borrow.hang) })
	b.request(ctx, "disconnect", nil)
	b.over(errStuck)
}

// pipeEditor returns the program's and the editor's end of a connection as an editor that starts the program makes it.
func pipeEditor(t *testing.T) (stdio, *rawEditor) {
	t.Helper()
	in, toIn, err := os.Pipe()
	check(t, err)
	fromOut, out, err := os.Pipe()
	check(t, err)
	hangUp := func() {
		for _, f := range []*os.File{in, toIn, fromOut, out} {
			_ = f.Close()
		}
	}
	late := time.AfterFunc(2*testkit.Patience, hangUp) // a test that waits for ever fails
	t.Cleanup(func() { late.Stop(); hangUp() })
	return stdio{in, out}, newRawEditor(fromOut, toIn)
}
