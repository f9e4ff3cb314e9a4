package workload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// shortestPause and longestPause are between two attempts: a person waits for the end of an outage.
	shortestPause = 200 * time.Millisecond
	longestPause  = 10 * time.Second
	// steady is how long a watch must have lasted to be a good one.
	steady = 10 * time.Second
	// atOnce is how soon a watch that brought nothing has ended when it was none: client-go gives an empty one, and no error,
	// for a connection that was closed or reset each time it tried (rest.Request.Watch).
	atOnce = time.Second
	// watchAtLeast is half of what bounds one watch, as client-go's reflector has it, so that one that hangs is noticed.
	watchAtLeast = 5 * time.Minute
	// patience is how long a refusal of what was allowed is taken for one of a starting API server, whose roles are not
	// loaded yet.
	patience = time.Minute
)

// errEmpty says that a watch was none.
var errEmpty = errors.New("watch: the connection to the API server ended at once")

// follower keeps up with a few objects of one kind by a list and a watch. client-go's own ways do less: RetryWatcher repeats
// an expired watch for ever, and the reflector's pauses do not end with its context and hide what it waits for.
type follower[T metav1.Object] struct {
	// what is followed, for the log: "pods of deployment/shop".
	what  string
	list  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
	// options select the objects.
	options metav1.ListOptions
	log     *zap.Logger
	// latest holds the newest state that was not taken yet. It has room for one.
	latest chan []T

	objects map[string]T
	// version is what a watch can go on from. If empty, the objects are listed first.
	version string
	// allowed says that a watch has been granted: then a refusal may be one of a starting API server.
	allowed bool
}

// run follows until ctx ends, through restarts of the API server, lost connections and expired versions. Its error is why it
// cannot go on: a refusal that lasts.
func (f *follower[T]) run(ctx context.Context) error {
	pause := shortestPause
	var trouble, refused time.Time
	for {
		began := time.Now()
		err := f.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case err == nil || isExpired(err):
			if !trouble.IsZero() {
				f.log.Info("following again", zap.String("what", f.what), zap.Duration("after", time.Since(trouble)))
			}
			trouble, refused = time.Time{}, time.Time{}
		case trouble.IsZero():
			trouble = began
			f.log.Warn("cannot follow, trying again", zap.String("what", f.what), zap.Error(err))
		}
		if apierrors.IsForbidden(err) {
			if refused.IsZero() {
				refused = began
			}
			if !f.allowed || time.Since(refused) >= patience {
				return err
			}
		}
		if time.Since(began) > steady {
			pause = shortestPause
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait.Jitter(pause, 0.5)):
		}
		pause = min(2*pause, longestPause)
	}
}

// once lists, if need be, and watches until the watch ends. It is nil when that was in order.
func (f *follower[T]) once(ctx context.Context) error {
	if f.version == "" {
		if err := f.relist(ctx); err != nil {
			return err
		}
	}
	err := f.watchOnce(ctx)
	if isExpired(err) {
		f.version = ""
	}
	return err
}

func (f *follower[T]) relist(ctx context.Context) error {
	list, err := f.list(ctx, f.options)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	about, err := meta.ListAccessor(list)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	f.objects = map[string]T{}
	for _, item := range items {
		if object, ok := item.(T); ok {
			f.objects[object.GetName()] = object
		}
	}
	f.version = about.GetResourceVersion()
	f.publish()
	return nil
}

func (f *follower[T]) watchOnce(ctx context.Context) error {
	options := f.options
	options.ResourceVersion = f.version
	options.AllowWatchBookmarks = true
	seconds := int64(wait.Jitter(watchAtLeast, 1).Seconds())
	options.TimeoutSeconds = &seconds
	watching, err := f.watch(ctx, options)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	defer watching.Stop()
	began, empty := time.Now(), true
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, more := <-watching.ResultChan():
			if !more && empty && time.Since(began) < atOnce {
				return errEmpty
			}
			f.allowed, empty = true, false
			if !more {
				return nil
			}
			if err := f.take(event); err != nil {
				return err
			}
		}
	}
}

// take keeps one event's object.
func (f *follower[T]) take(event watch.Event) error {
	if event.Type == watch.Error {
		return fmt.Errorf("watch: %w", apierrors.FromObject(event.Object))
	}
	object, ok := event.Object.(T)
	if !ok {
		return fmt.Errorf("watch: an event with a %T", event.Object)
	}
	f.version = object.GetResourceVersion()
	switch event.Type {
	case watch.Added, watch.Modified:
		f.objects[object.GetName()] = object
	case watch.Deleted:
		delete(f.objects, object.GetName())
	default: // a bookmark has a version only
		return nil
	}
	f.publish()
	return nil
}

// publish replaces the state that was not taken.
func (f *follower[T]) publish() {
	select {
	case <-f.latest:
	default:
	}
	f.latest <- slices.Collect(maps.Values(f.objects))
}

// isExpired tells that a watch cannot go on from its version, as after a long disconnection.
func isExpired(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && (apierrors.IsResourceExpired(err) || apierrors.IsGone(err))
}
