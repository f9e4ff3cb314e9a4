//go:build linux

package main

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// Asked keeps what the session was asked.
func (a *agentProcess) Asked(p wire.AskedParams) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, p)
}

// question waits for the nth that the session was asked.
func (a *agentProcess) question(t *testing.T, n int) (p wire.AskedParams) {
	t.Helper()
	testpod.Eventually(t, "the session is asked", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.asked) <= n {
			return false
		}
		p = a.asked[n]
		return true
	})
	return p
}

// asks asks a session, and gives the reply to whoever receives it.
func (a *agentProcess) asks(t *testing.T, p wire.AskParams) <-chan wire.Reply {
	t.Helper()
	replies := make(chan wire.Reply, 1)
	go func() {
		r, err := a.client.Ask(t.Context(), p)
		if err != nil {
			t.Errorf("ask: %v", err)
		}
		replies <- r.Reply
	}()
	return replies
}

func TestSomebodyAsksASessionAndHearsItsAnswer(t *testing.T) {
	client := testpod.NewClient(t)
	python(t, nil)
	r := startResident(t)
	alice, mallory := r.join("alice@laptop", "a1"), r.join("mallory", "m1")
	sub := alice.steal(t, 80)

	anna := r.join("anna@desk\x1b[2J", "")
	reply := anna.asks(t, wire.AskParams{Session: "a1", Port: 80, Message: "may\nI? " + strings.Repeat("x", 500)})
	asked := alice.question(t, 0)
	if asked.Name != "anna@desk[2J" || asked.Port != 80 || !strings.HasPrefix(asked.Message, "may I? x") || len([]rune(asked.Message)) != wire.MaxMessage || asked.Wait != wire.DefaultWait {
		t.Errorf("asked %+v", asked)
	}
	// Nobody answers for another.
	if err := mallory.client.Answer(t.Context(), wire.AnswerParams{ID: asked.ID, Released: true}); err != nil {
		t.Error(err)
	}
	if err := alice.client.Answer(t.Context(), wire.AnswerParams{ID: asked.ID}); err != nil {
		t.Error(err)
	}
	if got := <-reply; got != wire.ReplyKept {
		t.Errorf("replied %q", got)
	}
	if who := whoServes(client, testpod.Pod4+":80", testkit.Patience); who != "debuggee" {
		t.Errorf("%s serves what was kept", who)
	}

	reply = r.join("bob@desk", "").asks(t, wire.AskParams{Session: "a1"})
	asked = alice.question(t, 1)
	if err := alice.client.Unsubscribe(t.Context(), wire.UnsubscribeParams{ID: sub.ID}); err != nil {
		t.Fatal(err)
	}
	if err := alice.client.Answer(t.Context(), wire.AnswerParams{ID: asked.ID, Released: true}); err != nil {
		t.Error(err)
	}
	if got := <-reply; got != wire.ReplyReleased {
		t.Errorf("replied %q", got)
	}
	if who := whoServes(client, testpod.Pod4+":80", testkit.Patience); who != "target" {
		t.Errorf("%s serves what was released", who)
	}

	alice.steal(t, 80)
	reply = r.join("carl@desk", "").asks(t, wire.AskParams{Session: "a1"})
	alice.question(t, 2)
	alice.leave(t, 0)
	if got := <-reply; got != wire.ReplyEnded {
		t.Errorf("replied %q when the session ended", got)
	}
}

func TestSomebodyAsksInVain(t *testing.T) {
	r := startResident(t)
	alice := r.join("alice@laptop", "a1")
	alice.steal(t, 80)
	if _, err := alice.client.Subscribe(t.Context(), wire.SubscribeParams{Port: 82, Mode: wire.ModeMirror}); err != nil {
		t.Fatal(err)
	}
	anna := r.join("anna@desk", "")
	// alice does not answer.
	if got, err := anna.client.Ask(t.Context(), wire.AskParams{Session: "a1", Port: 80, Wait: 1}); err != nil || got.Reply != wire.ReplyNone {
		t.Errorf("replied %v, %v", got, err)
	}
	alice.question(t, 0)
	for _, c := range []struct {
		what  string
		ask   wire.AskParams
		errno syscall.Errno
		says  string
	}{
		{"again at once", wire.AskParams{Session: "a1", Port: 80}, syscall.EAGAIN, "ask again in "},
		{"an unknown session", wire.AskParams{Session: "a2"}, syscall.ESRCH, "no such session"},
		{"a port that is free", wire.AskParams{Session: "a1", Port: 81}, syscall.ENOENT, "does not steal"},
		{"a mirrored port", wire.AskParams{Session: "a1", Port: 82}, syscall.ENOENT, "does not steal"},
		{"a wait without end", wire.AskParams{Session: "a1", Wait: wire.MaxWait + 1}, syscall.EINVAL, "not between"},
	} {
		_, err := anna.client.Ask(t.Context(), c.ask)
		var refusal *wire.Refusal
		if !errors.As(err, &refusal) || refusal.Errno != c.errno || !strings.Contains(refusal.Text, c.says) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	alice.mu.Lock()
	defer alice.mu.Unlock()
	if len(alice.asked) != 1 {
		t.Errorf("asked %+v, want only once", alice.asked)
	}
}
