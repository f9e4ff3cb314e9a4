//go:build linux

package borrow

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// stranger is a target of one place, whose agent is played by the test.
type stranger struct {
	t    *testing.T
	play func(agent net.Conn)
}

func (s stranger) Find(context.Context, config.Mirror, func(string)) (place.Target, error) {
	return s, nil
}

func (s stranger) Places(ctx context.Context) <-chan []place.Place {
	sets := make(chan []place.Place, 1)
	sets <- []place.Place{s}
	context.AfterFunc(ctx, func() { close(sets) })
	return sets
}

func (s stranger) Err() error               { return nil }
func (s stranger) Close() error             { return nil }
func (s stranger) ID() string               { return s.String() }
func (s stranger) String() string           { return "process/1" }
func (s stranger) Lasting() bool            { return false }
func (s stranger) Incoming() place.Incoming { return place.Incoming{} }

func (s stranger) Attach(context.Context) (io.ReadWriteCloser, error) {
	a, b := testkit.Pair(s.t)
	go s.play(b)
	return a, nil
}

// TestStartSaysWhatIsWrongWithTheAgent : one fault, and nothing is left of the session.
func TestStartSaysWhatIsWrongWithTheAgent(t *testing.T) {
	cases := []struct {
		name string
		play func(net.Conn)
		id   fault.ID
		text string
	}{
		{"another major version", func(agent net.Conn) {
			_ = wire.WriteHello(agent, wire.Hello{Major: wire.Major + 1, Program: "podstep-agent 9.0.0"})
			_, _ = io.Copy(io.Discard, agent)
		}, fault.AgentVersion, "podstep-agent 9.0.0"},
		{"no greeting", func(agent net.Conn) {
			_, _ = agent.Write([]byte("exec format error\n"))
			_ = agent.Close()
		}, fault.AgentStart, "exec format error"},
		{"gone after the greeting", func(agent net.Conn) {
			_ = wire.WriteHello(agent, wire.Hello{Program: "podstep-agent"})
			_, _ = wire.ReadHello(agent)
			_ = agent.Close()
		}, fault.AgentStart, "process/1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			runtime := t.TempDir()
			t.Setenv("XDG_RUNTIME_DIR", runtime)
			m := config.Default()
			m.Target = "process/1"
			_, err := Start(t.Context(), m, Options{Provider: stranger{t, c.play}})
			var f *fault.Fault
			if !errors.As(err, &f) || f.ID != c.id || !strings.Contains(f.Error(), c.text) {
				t.Errorf("got %v, want fault %d with %q", err, c.id, c.text)
			}
			if left, _ := filepath.Glob(filepath.Join(runtime, "podstep", "*")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestStartRefusesABadTargetBeforeAnythingIsTouched(t *testing.T) {
	m := config.Default()
	m.Target = "pods/web_0"
	_, err := Start(t.Context(), m, Options{Provider: stranger{t, func(net.Conn) { t.Error("attached") }}})
	var f *fault.Fault
	if !errors.As(err, &f) || f.ID != fault.BadConfig {
		t.Errorf("got %v, want fault %d", err, fault.BadConfig)
	}
}
