package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/cluster/rbac"
	"podstep.dev/adapter/cluster/workload"
	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
)

const (
	// obeying is how long sessions may take to give back what was revoked, lookAgain how often it is looked whether they have.
	obeying   = 15 * time.Second
	lookAgain = 300 * time.Millisecond
	// revokeAttempts bounds how often a pod is read again that somebody else changed meanwhile.
	revokeAttempts = 5
)

// Revoking says what is revoked, by whom and why.
type Revoking struct {
	Which
	// By is who revokes, Reason why, as the developers see it.
	By, Reason string
	// For is how long those sessions' people may not steal again; with an empty Which.Session nobody may. If zero, who begins anew may.
	For time.Duration
	// Written is called when the annotations are written, before anybody is waited for. If nil, it is not.
	Written func([]*Thief)
}

// Revoke takes the right to steal from the target's pods away from sessions, and returns when they have given everything back: those that
// had to. Without For it is a fault when nobody steals. Errors are *fault.Fault: NobodySteals, Forbidden, NotRevoked.
func Revoke(ctx context.Context, o api.Options, target config.Target, r Revoking) ([]*Thief, error) {
	w, err := own(ctx, o, target, r.AgentNamespace)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := w.mayRevoke(ctx); err != nil {
		return nil, err
	}
	thieves, err := w.choose(r.Which)
	if err != nil && (r.For == 0 || r.Port != 0) {
		return nil, err
	}
	pods := w.pods
	if r.For == 0 {
		pods = slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool {
			return !slices.ContainsFunc(thieves, func(t *Thief) bool { return slices.Contains(t.pods, p.Name) })
		})
	}
	entry := r.entry(thieves, time.Now())
	for _, p := range pods {
		if err := w.annotate(ctx, p, entry); err != nil {
			return nil, err
		}
	}
	if r.Written != nil {
		r.Written(thieves)
	}
	return thieves, w.obeyed(ctx, thieves)
}

// entry is what is written at the pods.
func (r Revoking) entry(thieves []*Thief, now time.Time) workload.Revocation {
	now = now.UTC().Truncate(time.Second)
	e := workload.Revocation{By: r.By, Reason: r.Reason, Time: now}
	for _, t := range thieves {
		e.Sessions = append(e.Sessions, t.Session.Session)
	}
	if r.For == 0 {
		return e
	}
	e.Until = now.Add(r.For)
	if r.Session == "" && r.Port == 0 {
		return e
	}
	for _, t := range thieves {
		e.Holders = append(e.Holders, t.Name)
	}
	if len(e.Holders) == 0 {
		e.Holders = []string{r.Session}
	}
	return e
}

// mayRevoke asks before anything is touched whether the user may patch the pods, so that who may not is told what it takes.
func (w *owned) mayRevoke(ctx context.Context) error {
	grants := rbac.Grants(rbac.Options{Namespace: w.cluster.Namespace, Admin: true, Only: []rbac.Feature{rbac.Revoke}})
	missing, err := rbac.Check(ctx, w.cluster.Client.AuthorizationV1(), grants)
	if err != nil {
		return w.cluster.Fault(err, "ask whether stealing may be revoked")
	}
	if len(missing) > 0 {
		return &fault.Fault{
			ID: fault.Forbidden, What: fmt.Sprintf("you may not revoke: no permission to %s", missing[0]),
			Hint: fmt.Sprintf("It is an administrator's, printed by: podstep rbac -n %s --admin. To ask instead: podstep ask %s", w.cluster.Namespace, w.target),
		}
	}
	return nil
}

// annotate adds an entry to a pod's annotation. A pod that is gone needs none.
func (w *owned) annotate(ctx context.Context, pod *corev1.Pod, entry workload.Revocation) error {
	client := w.cluster.Client.CoreV1().Pods(pod.Namespace)
	for attempt := 1; ; attempt++ {
		body, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"resourceVersion": pod.ResourceVersion, "uid": pod.UID,
			"annotations": map[string]string{workload.RevokedAnnotation: workload.WithRevocation(pod, entry, time.Now())},
		}})
		if err != nil {
			return fault.As(err)
		}
		_, err = client.Patch(ctx, pod.Name, types.MergePatchType, body, metav1.PatchOptions{})
		switch {
		case err == nil, apierrors.IsNotFound(err):
			return nil
		case !apierrors.IsConflict(err) || attempt == revokeAttempts:
			return w.cluster.Fault(err, "write the annotation "+workload.RevokedAnnotation+" of pod/"+pod.Name)
		}
		fresh, err := client.Get(ctx, pod.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && fresh.UID != pod.UID {
			return nil
		}
		if err != nil {
			return w.cluster.Fault(err, "read pod/"+pod.Name)
		}
		pod = fresh
	}
}

// obeyed waits until none of the thieves steals any more.
func (w *owned) obeyed(ctx context.Context, thieves []*Thief) error {
	if len(thieves) == 0 {
		return nil
	}
	deadline := time.Now().Add(obeying)
	for {
		if err := w.look(ctx); err != nil {
			return err
		}
		var left []string
		for _, t := range w.thieves {
			if slices.ContainsFunc(thieves, func(o *Thief) bool { return o.Session.Session == t.Session.Session }) {
				left = append(left, fmt.Sprintf("%s at pod/%s", t, strings.Join(t.pods, ", pod/")))
			}
		}
		left = append(left, w.unknown...)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fault.New(fault.NotRevoked, "not given back within "+obeying.String(), fmt.Errorf("%s", strings.Join(left, "; ")))
		}
		select {
		case <-ctx.Done():
			return fault.As(context.Cause(ctx))
		case <-time.After(lookAgain):
		}
	}
}
