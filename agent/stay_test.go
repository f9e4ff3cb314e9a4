//go:build linux

package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestStayLastsAsLongAsItIsOfUse(t *testing.T) {
	const unjoined = 30 * time.Second
	for name, test := range map[string]struct {
		events map[time.Duration]func(*Stay)
		want   error
		after  time.Duration
	}{
		"nobody joins":             {nil, ErrUnjoined, unjoined},
		"left at once":             {map[time.Duration]func(*Stay){10: join("a"), 20: leave(0)}, ErrLeft, 20},
		"left, and asked for time": {map[time.Duration]func(*Stay){10: join("a"), 20: leave(time.Minute)}, ErrLeft, 20 + time.Minute},
		"lost":                     {map[time.Duration]func(*Stay){10: join("a"), 20: lose("a")}, ErrLost, 20 + unjoined},
		"the longest claim counts": {map[time.Duration]func(*Stay){10: join("a"), 11: join("a"), 20: leave(time.Minute), 21: leave(0)}, ErrLeft, 20 + time.Minute},
		"a lost one is waited for": {map[time.Duration]func(*Stay){10: join("a"), 11: join("a"), 20: lose("a"), 21: leave(0)}, ErrLost, 20 + unjoined},
		"a session keeps it":       {map[time.Duration]func(*Stay){10: join("a"), 11: join("a"), 20: leave(0), time.Hour: leave(0)}, ErrLeft, time.Hour},
		"lost and back":            {map[time.Duration]func(*Stay){10: join("a"), 20: lose("a"), 21: join("a"), time.Hour: leave(0)}, ErrLeft, time.Hour},
		"lost, back, and left":     {map[time.Duration]func(*Stay){10: join("a"), 20: lose("a"), 21: join("a"), 22: leave(0)}, ErrLeft, 22},
		"another is back":          {map[time.Duration]func(*Stay){10: join("a"), 20: lose("a"), 21: join("b"), 22: leave(0)}, ErrLost, 20 + unjoined},
		"a greeting keeps it":      {map[time.Duration]func(*Stay){10: join("a"), 19: hold, 20: leave(0), 25: (*Stay).Release}, ErrLeft, 25},
		"a greeting joins":         {map[time.Duration]func(*Stay){10: join("a"), 19: hold, 20: leave(0), 25: join("a"), 26: (*Stay).Release, time.Hour: leave(0)}, ErrLeft, time.Hour},
		"its lifetime is over":     {map[time.Duration]func(*Stay){10: join("a")}, ErrLifetime, 24 * time.Hour},
		"lingering has an end":     {map[time.Duration]func(*Stay){10: join("a"), 20: leave(48 * time.Hour)}, ErrLifetime, 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				s := NewStay(unjoined)
				for at, do := range test.events {
					time.AfterFunc(at, func() { do(s) })
				}
				err := s.Run(t.Context(), 24*time.Hour, nil)
				if took := time.Since(began); !errors.Is(err, test.want) || took != test.after {
					t.Errorf("%v after %s, want %v after %s", err, took, test.want, test.after)
				}
			})
		})
	}
}

func join(session string) func(*Stay) { return func(s *Stay) { s.Join(session) } }

func lose(session string) func(*Stay) { return func(s *Stay) { s.Lose(session) } }

func hold(s *Stay) { s.Hold() }

// TestNobodyIsGreetedWhenTheStayIsOver : whoever joins would take an agent that goes at the next moment.
func TestNobodyIsGreetedWhenTheStayIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStay(time.Second)
		if !s.Hold() {
			t.Error("a stay that has not begun refuses")
		}
		s.Release()
		if err := s.Run(t.Context(), time.Hour, nil); !errors.Is(err, ErrUnjoined) {
			t.Error(err)
		}
		if s.Hold() {
			t.Error("a stay that is over greets")
		}
	})
}

func leave(linger time.Duration) func(*Stay) { return func(s *Stay) { s.Leave(linger) } }

func TestStayEndsWithItsTargetAndItsContext(t *testing.T) {
	exited := make(chan struct{})
	close(exited)
	if err := NewStay(time.Hour).Run(t.Context(), time.Hour, exited); !errors.Is(err, ErrTargetGone) {
		t.Errorf("target ended: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	told := errors.New("told to go")
	cancel(told)
	if err := NewStay(time.Hour).Run(ctx, time.Hour, nil); !errors.Is(err, told) {
		t.Errorf("context ended: %v", err)
	}
}
