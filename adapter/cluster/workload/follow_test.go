package workload

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// server answers lists and watches as it is told, in turn; the last answer of each is repeated.
type server struct {
	mu      sync.Mutex
	lists   []func() (runtime.Object, error)
	watches []func() (watch.Interface, error)
	// asked are the requests: "list", "watch VERSION".
	asked []string
}

func (s *server) list(context.Context, metav1.ListOptions) (runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, "list")
	return next(&s.lists)()
}

func (s *server) watch(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !o.AllowWatchBookmarks || *o.TimeoutSeconds < 300 || *o.TimeoutSeconds > 600 {
		return nil, errors.New("the watch is without bookmarks or bounds")
	}
	s.asked = append(s.asked, "watch "+o.ResourceVersion)
	return next(&s.watches)()
}

func next[F any](all *[]F) F {
	f := (*all)[0]
	if len(*all) > 1 {
		*all = (*all)[1:]
	}
	return f
}

func podOf(name, version string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: version}}
}

func pods(version string, names ...string) func() (runtime.Object, error) {
	return func() (runtime.Object, error) {
		l := &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: version}}
		for _, name := range names {
			l.Items = append(l.Items, *podOf(name, version))
		}
		return l, nil
	}
}

// events is a watch that says what it has to and then stays open, or ends.
func events(ends bool, all ...watch.Event) func() (watch.Interface, error) {
	return func() (watch.Interface, error) {
		w := watch.NewFakeWithChanSize(len(all), false)
		for _, e := range all {
			w.Action(e.Type, e.Object)
		}
		if ends {
			w.Stop()
		}
		return w, nil
	}
}

func failing[T any](err error) func() (T, error) {
	return func() (none T, _ error) { return none, err }
}

func following(s *server, log *zap.Logger) *follower[*corev1.Pod] {
	return &follower[*corev1.Pod]{what: "pods", list: s.list, watch: s.watch, log: log, latest: make(chan []*corev1.Pod, 1)}
}

// names are those of the newest state.
func names(latest <-chan []*corev1.Pod) string {
	var all []string
	for _, pod := range <-latest {
		all = append(all, pod.Name)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestFollowerKeepsUp(t *testing.T) {
	gone := &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired}
	refused := apierrors.NewServiceUnavailable("starting")
	bookmark := watch.Event{Type: watch.Bookmark, Object: podOf("", "7")}
	for name, test := range map[string]struct {
		server *server
		want   string
		asked  []string
		within time.Duration
	}{
		"through events": {
			&server{lists: []func() (runtime.Object, error){pods("1", "a", "b")}, watches: []func() (watch.Interface, error){events(false,
				watch.Event{Type: watch.Added, Object: podOf("c", "2")}, watch.Event{Type: watch.Deleted, Object: podOf("a", "3")})}},
			"b c", []string{"list", "watch 1"}, 0,
		},
		"from a bookmark when a watch ends": {
			&server{lists: []func() (runtime.Object, error){pods("1", "a")}, watches: []func() (watch.Interface, error){
				events(true, bookmark), events(false, watch.Event{Type: watch.Added, Object: podOf("b", "8")})}},
			"a b", []string{"list", "watch 1", "watch 7"}, time.Second,
		},
		"after a watch that expired": {
			&server{lists: []func() (runtime.Object, error){pods("1", "a"), pods("9", "b")}, watches: []func() (watch.Interface, error){
				events(false, watch.Event{Type: watch.Error, Object: gone}), events(false)}},
			"b", []string{"list", "watch 1", "list", "watch 9"}, time.Second,
		},
		"after a version that is too old to begin with": {
			&server{lists: []func() (runtime.Object, error){pods("1", "a"), pods("9", "b")}, watches: []func() (watch.Interface, error){
				failing[watch.Interface](apierrors.NewResourceExpired("too old")), events(false)}},
			"b", []string{"list", "watch 1", "list", "watch 9"}, time.Second,
		},
		"through a restart of the API server": {
			&server{lists: []func() (runtime.Object, error){failing[runtime.Object](refused), failing[runtime.Object](refused), pods("1", "a")}, watches: []func() (watch.Interface, error){
				failing[watch.Interface](refused), events(false, watch.Event{Type: watch.Modified, Object: podOf("b", "2")})}},
			"a b", []string{"list", "list", "list", "watch 1", "watch 1"}, 10 * time.Second,
		},
		"through an event that it cannot read": {
			&server{lists: []func() (runtime.Object, error){pods("1", "a")}, watches: []func() (watch.Interface, error){
				events(false, watch.Event{Type: watch.Added, Object: &corev1.Node{}}), events(false, watch.Event{Type: watch.Added, Object: podOf("b", "2")})}},
			"a b", []string{"list", "watch 1", "watch 1"}, time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				f := following(test.server, zap.NewNop())
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- f.run(ctx) }()
				var got string
				for got != test.want {
					got = names(f.latest)
				}
				if took := time.Since(began); took > test.within {
					t.Errorf("it took %v, want at most %v", took, test.within)
				}
				synctest.Wait()
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(test.asked, test.server.asked); diff != "" {
					t.Errorf("requests (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestFollowerPausesLongerAndLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		s := &server{lists: []func() (runtime.Object, error){failing[runtime.Object](apierrors.NewServiceUnavailable("away"))}}
		f := following(s, zap.New(core))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := f.run(ctx); err != nil {
			t.Error(err)
		}
		// Six growing pauses, then one in 10 to 15 s.
		if n := len(s.asked); n < 40 || n > 70 {
			t.Errorf("%d requests in ten minutes", n)
		}
		if logs.Len() != 1 || logs.All()[0].Message != "cannot follow, trying again" {
			t.Errorf("the outage is logged as %v, want one line", logs.All())
		}
	})
}

// TestFollowerTakesAnEmptyWatchForAnOutage : client-go gives one, without an error, when each connection is reset.
func TestFollowerTakesAnEmptyWatchForAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		s := &server{lists: []func() (runtime.Object, error){pods("1", "a")}, watches: []func() (watch.Interface, error){events(true)}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := following(s, zap.New(core)).run(ctx); err != nil {
			t.Error(err)
		}
		if logs.FilterMessage("cannot follow, trying again").Len() != 1 || logs.Len() != 1 {
			t.Errorf("the outage is logged as %v, want one line", logs.All())
		}
	})
}

func TestFollowerGivesUpWhenRefused(t *testing.T) {
	no := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("no"))
	for name, test := range map[string]struct {
		watches         []func() (watch.Interface, error)
		atLeast, atMost time.Duration
	}{
		"from the beginning": {[]func() (watch.Interface, error){failing[watch.Interface](no)}, 0, 0},
		"for long": {[]func() (watch.Interface, error){events(true, watch.Event{Type: watch.Bookmark, Object: podOf("", "2")}), failing[watch.Interface](no)},
			patience, 2 * patience},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{lists: []func() (runtime.Object, error){pods("1", "a")}, watches: test.watches}
				began := time.Now()
				err := following(s, zap.NewNop()).run(t.Context())
				if took := time.Since(began); !apierrors.IsForbidden(err) || took < test.atLeast || took > test.atMost {
					t.Errorf("it gave up after %v with %v", took, err)
				}
			})
		})
	}
}

func TestFollowerKeepsTheNewestStateOnly(t *testing.T) {
	f := following(&server{}, zap.NewNop())
	f.objects = map[string]*corev1.Pod{"a": podOf("a", "1")}
	f.publish()
	f.objects["b"] = podOf("b", "2")
	f.publish()
	if got := names(f.latest); got != "a b" {
		t.Errorf("the state is %q", got)
	}
}
