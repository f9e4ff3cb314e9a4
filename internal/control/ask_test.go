package control

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

func TestAskIsANoticeAndItsAnswerACall(t *testing.T) {
	params := wire.AskParams{Session: "k3", Port: 80, Message: "lunch?", Wait: 20}
	notice := wire.AskedParams{ID: 4, Name: "anna@desk", Port: 80, Message: "lunch?", Wait: 20}
	answered := make(chan wire.AnswerParams, 1)
	hears := &heard{}
	client, server := conversation(t, agent{
		ask: func(_ context.Context, p wire.AskParams) (wire.AskResult, error) {
			if diff := cmp.Diff(params, p); diff != "" {
				t.Error(diff)
			}
			return wire.AskResult{Reply: wire.ReplyKept}, nil
		},
		answer: func(_ context.Context, p wire.AnswerParams) error { answered <- p; return nil },
	}, hears)
	if err := server.Asked(t.Context(), notice); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the session hears of it", func() bool {
		hears.mu.Lock()
		defer hears.mu.Unlock()
		return cmp.Equal([]wire.AskedParams{notice}, hears.asked)
	})
	if err := client.Answer(t.Context(), wire.AnswerParams{ID: 4, Released: true}); err != nil {
		t.Fatal(err)
	}
	if got := <-answered; got.ID != 4 || !got.Released {
		t.Errorf("answered %+v", got)
	}
	if got, err := client.Ask(t.Context(), params); err != nil || got.Reply != wire.ReplyKept {
		t.Errorf("replied %v, %v", got, err)
	}
}
