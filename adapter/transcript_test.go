package adapter

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"podstep.dev/adapter/borrow"
	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/borrow/tunnel"
	"podstep.dev/adapter/dap"
	"podstep.dev/adapter/debugger"
	"podstep.dev/internal/fault"
)

// TestSessionTranscripts plays testdata/session/*.txtar: the comment says why the case exists, "in" is what happens, one happening a line, and
// "out" repeats each happening with the actions that follow it. go test -update rewrites "out"; the difference is reviewed.
//
//	editor {...}         the editor sends the message     debugger {...}   the debugger does
//	borrowed, prepared   what was begun succeeded         started [{...}]  with attributes; default: those of the launch
//	failed ID text       what was begun failed            gone             the debugger ended
//	fired NAME           a timer did                      said text        progress of what was begun
//	lost ID text         the borrow ended                 signalled        podstep was told to end
//	printed CAT text     output of a stream               fixed NAME       (first) the debugger is given by option
//	consulted {...}      the log's answer                 unconsulted text the log has none
//	asked {...}          somebody asks for ports
//	came N [...]         requests came, and N more        inside [...]     the requests that the debuggee has
//	held - {...}         a rule holds a request           held HOW {...}   it went on
//
// @dlv stands for the recorded capabilities of dlv, @dlv+ours for those with podstep's own.
func TestSessionTranscripts(t *testing.T) {
	update := flag.Lookup("update").Value.String() == "true"
	paths, err := filepath.Glob("testdata/session/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			check(t, err)
			if len(archive.Comment) == 0 {
				t.Error("the first line says why the case exists")
			}
			var in, want []byte
			for _, f := range archive.Files {
				switch f.Name {
				case "in":
					in = f.Data
				case "out":
					want = f.Data
				default:
					t.Fatalf("unknown part %q", f.Name)
				}
			}
			got := play(t, in)
			if update {
				archive.Files = []txtar.File{{Name: "in", Data: in}, {Name: "out", Data: got}}
				check(t, os.WriteFile(path, txtar.Format(archive), 0o644))
				return
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// player drives a session by lines.
type player struct {
	session *session
	out     bytes.Buffer
	asked   dap.Message // consult's
	look    lookInside
}

func play(t *testing.T, in []byte) []byte {
	t.Helper()
	p := &player{session: newSession("")}
	for line := range strings.Lines(string(in)) {
		line = strings.TrimSpace(line)
		full := line
		for _, d := range debugger.Known() {
			full = strings.ReplaceAll(full, "@"+d.Name(), string(bytes.TrimSpace(d.Capabilities())))
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fmt.Fprintf(&p.out, "%s\n", line)
		verb, rest, _ := strings.Cut(full, " ")
		actions, err := p.happen(verb, rest)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		for _, a := range actions {
			switch a := a.(type) {
			case consult:
				p.asked = a.request
			case settle:
				p.asked = a.request
			case lookInside:
				p.look = a
			}
			fmt.Fprintf(&p.out, "  %s\n", shorten(describe(a)))
		}
	}
	return p.out.Bytes()
}

func (p *player) happen(verb, rest string) ([]action, error) {
	s := p.session
	switch verb {
	case "fixed":
		s.named = rest
		return nil, nil
	case "editor", "debugger":
		m, err := dap.Parse([]byte(rest))
		if err != nil {
			return nil, err
		}
		if verb == "editor" {
			return s.fromEditor(m), nil
		}
		return s.fromDebugger(m), nil
	case "borrowed":
		return s.borrowed(), nil
	case "prepared":
		return s.prepared(), nil
	case "started":
		if rest == "" {
			return s.started(s.chosen.attributes), nil
		}
		a, err := debugger.ParseAttributes(json.RawMessage(rest))
		return s.started(a), err
	case "failed", "lost":
		var id int
		if _, err := fmt.Sscanf(rest, "%d", &id); err != nil {
			return nil, err
		}
		_, text, _ := strings.Cut(rest, " ")
		f := &fault.Fault{ID: fault.ID(id), What: text, Hint: "Do this."}
		if verb == "lost" {
			return s.lost(f), nil
		}
		return s.failed(f), nil
	case "gone":
		return s.debuggerGone(), nil
	case "fired":
		return s.fired(timer(rest)), nil
	case "said":
		return s.said(rest), nil
	case "printed":
		category, text, _ := strings.Cut(rest, " ")
		return s.printed(category, text), nil
	case "signalled":
		return s.signalled(), nil
	case "consulted":
		return s.consulted(p.asked, json.RawMessage(rest), nil), nil
	case "unconsulted":
		return s.consulted(p.asked, nil, errors.New(rest)), nil
	case "came":
		n, list, _ := strings.Cut(rest, " ")
		omitted, notNumber := strconv.Atoi(n)
		var changed []requests.Summary
		err := errors.Join(notNumber, json.Unmarshal([]byte(list), &changed))
		return s.requestsChanged(changed, omitted), err
	case "held":
		how, text, _ := strings.Cut(rest, " ")
		var h tunnel.Held
		err := json.Unmarshal([]byte(text), &h)
		return s.requestHeld(h, tunnel.Release(strings.TrimPrefix(how, "-"))), err
	case "asked":
		var q borrow.Question
		err := json.Unmarshal([]byte(rest), &q)
		return s.asked(q), err
	case "inside":
		entries, err := insideOf(rest)
		return s.looked(p.look, entries), err
	}
	return nil, fmt.Errorf("unknown happening %q", verb)
}

// insideOf reads requests, with how the debuggee sees each: the peer of its line, or "seen", and "stream".
func insideOf(text string) (entries []requests.Entry, err error) {
	var list []struct {
		requests.Entry
		Seen   netip.AddrPort `json:"seen"`
		Stream uint32         `json:"stream"`
	}
	err = json.Unmarshal([]byte(text), &list)
	for _, l := range list {
		l.Entry.Seen = requests.Seen{Peer: l.Peer, Stream: l.Stream}
		if l.Seen.IsValid() {
			l.Entry.Seen.Peer = l.Seen
		}
		entries = append(entries, l.Entry)
	}
	return entries, err
}

// shorten writes what initialize answers as a word.
func shorten(line string) string {
	for name, known := range map[string]debugger.Debugger{"@dlv+ours": debugger.Named("dlv"), "@debugpy+ours": debugger.Named("debugpy"), "@common+ours": nil} {
		var body bytes.Buffer
		if err := json.Compact(&body, capabilities(known).Raw()); err == nil {
			line = strings.ReplaceAll(line, body.String(), name)
		}
	}
	return line
}

func describe(a action) string {
	switch a := a.(type) {
	case toEditor:
		return "-> editor " + string(a.raw)
	case toDebugger:
		return "-> debugger " + string(a.raw)
	case beginBorrow:
		return fmt.Sprintf("borrow %s own %q", a.mirror, a.attributes.EnvNames())
	case prepare:
		return fmt.Sprintf("prepare %s %s", a.debugger.Name(), a.attributes.Raw())
	case startDebugger:
		return "start " + a.debugger.Name()
	case endDebugger:
		return "end the debugger"
	case report:
		return "report"
	case consult:
		return "consult " + a.request.Command
	case settle:
		return "settle " + a.request.Command
	case followRequests:
		return "follow the requests"
	case lookInside:
		return "look inside"
	case giveBack:
		return "give back"
	case pauseChanged:
		return fmt.Sprintf("paused %v", a.paused)
	case setTimer:
		return fmt.Sprintf("timer %s in %v", a.name, a.after)
	case stopTimer:
		return fmt.Sprintf("timer %s stops", a.name)
	case release:
		return "release everything"
	case finish:
		if a.cause != nil {
			return "finish: " + strings.SplitN(a.cause.Error(), "\n", 2)[0]
		}
		return "finish"
	}
	return fmt.Sprintf("%T", a)
}
