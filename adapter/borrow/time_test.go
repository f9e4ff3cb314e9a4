package borrow

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/wire"
)

// These tests have no link: yamux does not live in a bubble.

// unreachable is a place whose agent cannot be reached; it notes when that was tried.
type unreachable struct {
	fakePlace
	why   error
	tries []time.Duration
	began time.Time
}

func (u *unreachable) Attach(context.Context) (io.ReadWriteCloser, error) {
	u.tries = append(u.tries, time.Since(u.began))
	return nil, u.why
}

// running is a session that has begun.
func running(ctx context.Context, say func(string)) *Borrow {
	b := &Borrow{changed: make(chan struct{}), say: say, roster: roster{target: "deployment/web", act: "stealing from", begun: true}}
	b.ctx, b.cancel = context.WithCancelCause(ctx)
	return b
}

func TestALostPlaceIsTriedForAsLongAsItStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		b := running(t.Context(), func(line string) { said = append(said, line) })
		u := &unreachable{fakePlace: fakePlace{name: "pod/a"}, why: place.Temporary(errors.New("no route")), began: time.Now()}
		b.tell(func(r *roster) effect { return r.replace([]seat{{id: u.ID(), name: u.name}}) })
		a := &attachment{borrow: b, place: u, log: zap.NewNop()}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		a.run(ctx)
		if b.ctx.Err() != nil {
			t.Errorf("the session ended with %v", b.Err())
		}
		var waits []time.Duration
		for i := range u.tries[1:] {
			waits = append(waits, u.tries[i+1]-u.tries[i])
		}
		for i, longest := range []time.Duration{50, 100, 200, 400, 800, 1600, 3200, 5000, 5000} {
			longest *= time.Millisecond
			if waits[i] > longest || waits[i] < longest*3/4 {
				t.Errorf("wait %d was %v, want %v to %v", i, waits[i], longest*3/4, longest)
			}
		}
		if n := len(waits); n < 120 || n > 165 {
			t.Errorf("%d tries in 10 minutes, want one about every 4.4 s", n)
		}
		if len(said) != 10 || said[0] != "cannot attach to pod/a yet: no route" || !strings.HasPrefix(said[1], "still not attached to pod/a (1m") {
			t.Errorf("the person heard %q, want it once and then each minute", said)
		}
	})
}

func TestStartTriesForAShortWhileOnly(t *testing.T) {
	for name, tt := range map[string]struct {
		why  error
		last time.Duration
	}{
		"what may go by itself": {place.Temporary(fault.New(fault.NoCluster, "no route", nil)), startPatience + maxDelay},
		"what does not":         {fault.New(fault.NoCluster, "no rights", nil), 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &unreachable{fakePlace: fakePlace{name: "pod/a"}, why: tt.why, began: time.Now()}
				m := config.Default()
				m.Target = "pod/a"
				_, err := Start(t.Context(), m, Options{Provider: newTarget(u)})
				if f := fault.As(err); f.ID != fault.NoCluster {
					t.Errorf("Start = %v, want the place's fault", err)
				}
				if took := time.Since(u.began); took > tt.last || tt.last > 0 && took < startPatience {
					t.Errorf("Start took %v, want up to %v", took, tt.last)
				}
			})
		})
	}
}

func TestStartWaitsForTheFirstPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		target := newTarget()
		u := &unreachable{fakePlace: fakePlace{name: "pod/a"}, why: errors.New("broken")}
		time.AfterFunc(time.Minute, func() { target.sets <- []place.Place{u} })
		m := config.Default()
		m.Target = "deploy/web"
		_, err := Start(t.Context(), m, Options{Provider: target, Say: func(line string) { said = append(said, line) }})
		if f := fault.As(err); f.ID != fault.AgentStart || f.Summary() != "cannot attach to pod/a: broken" {
			t.Errorf("Start = %v", err)
		}
		if diff := cmp.Diff([]string{"waiting for a pod of deployment/web"}, said); diff != "" {
			t.Errorf("the person heard (-want +got):\n%s", diff)
		}
	})
}

func TestDialsWaitForALinkAndThenFailLikeANetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := outgoing{running(t.Context(), nil)}
		began := time.Now()
		_, err := o.DNS(t.Context())
		var refusal *wire.Refusal
		if !errors.As(err, &refusal) || refusal != errNoLink {
			t.Errorf("DNS = %v, want EHOSTUNREACH", err)
		}
		if took := time.Since(began); took != dialPatience {
			t.Errorf("it took %v, want %v", took, dialPatience)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if _, err := o.DNS(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("DNS with a context = %v after %v", err, time.Since(began))
		}
	})
}
