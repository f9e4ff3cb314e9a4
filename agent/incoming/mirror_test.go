//go:build linux

package incoming

import (
	"io"
	"net/netip"
	"strings"
	"testing"

	"podstep.dev/agent/internal/testpod"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/wire"
)

func TestMirrorDeliversACopyAndLeavesTheTargetAlone(t *testing.T) {
	client := testpod.NewClient(t)
	target(t, testpod.Pod4+":80")
	f := startFarEnd(t, Options{})
	copies := f.copies()
	sub, err := f.Subscribe(t.Context(), wire.SubscribeParams{Port: 80, Mode: wire.ModeMirror})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(testpod.Pod4 + ":80")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := say(t, c, "hello"); err != nil || got != "target saw "+testpod.Client4+"\n" {
		t.Errorf("%q, %v", got, err)
	}
	_ = c.Close()
	if got := <-copies; string(got.kind)+" "+got.text != "copy hello\n" {
		t.Errorf("copy is %q", got)
	}
	if h := f.seen()[0]; h.From.Addr() != netip.MustParseAddr(testpod.Client4) || h.To.String() != testpod.Pod4+":80" || h.Port != 80 || h.Subscription != sub.ID {
		t.Errorf("header %+v", h)
	}
	if err := f.Unsubscribe(t.Context(), wire.UnsubscribeParams{ID: sub.ID}); err != nil {
		t.Error(err)
	}
}

func TestMirrorSeesARequestOnceBesideASteal(t *testing.T) {
	client := testpod.NewClient(t)
	target(t, testpod.Pod4+":80")
	thief, f := startFarEnd(t, Options{}), startFarEnd(t, Options{})
	thief.on(refuse)
	thief.steal(t, 80)
	copies := make(chan string, 4)
	f.on(func(st *mux.Stream) {
		_ = st.Opened(wire.Answer{})
		text, _ := io.ReadAll(st)
		copies <- string(text)
		_ = st.Close()
	})
	for _, port := range []uint16{80, 81} {
		if _, err := f.Subscribe(t.Context(), wire.SubscribeParams{Port: port, Mode: wire.ModeMirror}); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range []string{"first", "second"} {
		c, err := client.Dial(testpod.Pod4 + ":80")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := say(t, c, line); err != nil || !strings.Contains(got, testpod.Client4) {
			t.Errorf("%q, %v", got, err)
		}
		_ = c.Close()
		if got := <-copies; got != line+"\n" {
			t.Errorf("copy is %q, want %q", got, line)
		}
	}
	if n := len(f.seen()); n != 2 {
		t.Errorf("%d copies of 2 connections", n)
	}
}
