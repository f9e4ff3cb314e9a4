package borrow

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/internal/fault"
)

// TestRosterTellsThePerson plays what may befall a session's places and compares every word that the person hears.
func TestRosterTellsThePerson(t *testing.T) {
	silent := errors.New("link silent")
	refusal := fault.New(fault.PortTaken, "cannot steal port 80 of pod/b", errors.New("bob has it"))
	broken := fault.New(fault.AgentRefused, "not admitted", nil)
	ab := []seat{{id: "a", name: "pod/a"}, {id: "b", name: "pod/b"}}
	a, b := ab[:1], ab[1:]
	// do plays the steps a second apart; one that is an int lets so many seconds pass.
	do := func(r *roster, steps ...any) (said []string) {
		now := time.Unix(1000, 0)
		for _, step := range steps {
			now = now.Add(time.Second)
			var e effect
			switch step := step.(type) {
			case int:
				now = now.Add(time.Duration(step-1) * time.Second)
			case func(time.Time) effect:
				e = step(now)
			case []seat:
				e = r.replace(step)
			case bool:
				if got := r.begin(); got != step {
					said = append(said, fmt.Sprintf("BEGIN %v", got))
				}
			}
			said = append(said, e.say...)
			if e.end != nil {
				said = append(said, "END "+e.end.Summary())
			}
		}
		return said
	}
	for name, tt := range map[string]struct {
		steps func(r *roster) []any
		want  []string
	}{
		"all come at once": {func(r *roster) []any {
			return []any{false, ab, false, comes(r, "b"), false, comes(r, "a"), true}
		}, nil},
		"one fails at the start":             {func(r *roster) []any { return []any{ab, comes(r, "a"), fails(r, "b", broken), false} }, []string{"END not admitted"}},
		"one that fails at the start leaves": {func(r *roster) []any { return []any{ab, comes(r, "a"), loses(r, "b", silent), a, true} }, nil},
		"nobody is there at the start": {func(r *roster) []any {
			return []any{[]seat{}, false, a, comes(r, "a"), true}
		}, []string{"waiting for a pod of deployment/web"}},
		"another one comes": {func(r *roster) []any { return []any{a, comes(r, "a"), true, ab, comes(r, "b"), comes(r, "b")} }, []string{"also stealing from pod/b"}},
		"one goes":          {func(r *roster) []any { return []any{ab, comes(r, "a"), comes(r, "b"), true, b} }, []string{"no longer stealing from pod/a"}},
		"one is replaced": {func(r *roster) []any {
			return []any{a, comes(r, "a"), true, []seat{}, b, comes(r, "b")}
		}, []string{"waiting for a new pod of deployment/web", "stealing from pod/b"}},
		"a short loss": {func(r *roster) []any {
			return []any{a, comes(r, "a"), true, loses(r, "a", silent), tries(r, "a"), loses(r, "a", errors.New("refused")), comes(r, "a")}
		}, []string{"lost the link to pod/a: link silent; it serves by itself until the link is back", "pod/a is back after 3s"}},
		"a long loss": {func(r *roster) []any {
			steps := []any{a, comes(r, "a"), true, loses(r, "a", silent)}
			for range 13 {
				steps = append(steps, 9, loses(r, "a", errors.New("no route")))
			}
			return append(steps, comes(r, "a"), loses(r, "a", silent))
		}, []string{
			"lost the link to pod/a: link silent; it serves by itself until the link is back",
			"still no link to pod/a (1m0s): no route",
			"still no link to pod/a (2m0s): no route",
			"pod/a is back after 2m11s",
			"lost the link to pod/a: link silent; it serves by itself until the link is back",
		}},
		"one cannot be attached to yet": {func(r *roster) []any {
			return []any{a, comes(r, "a"), true, ab, loses(r, "b", silent), 61, loses(r, "b", silent), comes(r, "b")}
		}, []string{"cannot attach to pod/b yet: link silent", "still not attached to pod/b (1m2s): link silent", "also stealing from pod/b"}},
		"one that comes later is taken": {func(r *roster) []any {
			return []any{a, comes(r, "a"), true, ab, refuses(r, "b", refusal), refuses(r, "b", refusal), 61, refuses(r, "b", refusal), comes(r, "b")}
		}, []string{
			"cannot steal port 80 of pod/b: bob has it; trying again until it is free",
			"still: cannot steal port 80 of pod/b: bob has it (1m3s)",
			"also stealing from pod/b",
		}},
		"one that comes later fails": {func(r *roster) []any {
			return []any{a, comes(r, "a"), true, ab, fails(r, "b", broken), a}
		}, []string{"without pod/b: not admitted"}},
		"the last one fails": {func(r *roster) []any {
			return []any{ab, comes(r, "a"), comes(r, "b"), true, fails(r, "b", broken), fails(r, "a", broken)}
		}, []string{"without pod/b: not admitted", "END not admitted"}},
		"only one that failed is left": {func(r *roster) []any {
			return []any{ab, comes(r, "a"), comes(r, "b"), true, fails(r, "b", broken), b}
		}, []string{"without pod/b: not admitted", "no longer stealing from pod/a", "END not admitted"}},
		"what left the set is not heard": {func(r *roster) []any {
			return []any{ab, comes(r, "a"), comes(r, "b"), true, a, loses(r, "b", silent), 120, loses(r, "b", silent), fails(r, "b", broken), comes(r, "b"), refuses(r, "b", refusal)}
		}, []string{"no longer stealing from pod/b"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &roster{target: "deployment/web", act: "stealing from"}
			if diff := cmp.Diff(tt.want, do(r, tt.steps(r)...)); diff != "" {
				t.Errorf("the person hears (-want +got):\n%s", diff)
			}
		})
	}
}

func comes(r *roster, id string) func(time.Time) effect {
	return func(now time.Time) effect { return r.attached(id, now) }
}

func tries(r *roster, id string) func(time.Time) effect {
	return func(time.Time) effect { r.trying(id); return effect{} }
}

func loses(r *roster, id string, why error) func(time.Time) effect {
	return func(now time.Time) effect { return r.lost(id, why, now) }
}

func refuses(r *roster, id string, why error) func(time.Time) effect {
	return func(now time.Time) effect { return r.refused(id, why, now) }
}

func fails(r *roster, id string, why *fault.Fault) func(time.Time) effect {
	return func(time.Time) effect { return r.failed(id, why) }
}

func TestBackoffDoublesUpToItsLongest(t *testing.T) {
	for luck, part := range map[float64]float64{0: 1, 0.5: 0.875, 0.999: 0.75025} {
		var b backoff
		var got []time.Duration
		for range 10 {
			got = append(got, b.next(luck).Round(time.Millisecond))
		}
		var want []time.Duration
		for _, ms := range []float64{50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000} {
			want = append(want, time.Duration(ms*part*float64(time.Millisecond)).Round(time.Millisecond))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("with luck %v (-want +got):\n%s", luck, diff)
		}
	}
}
