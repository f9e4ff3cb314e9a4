package checkup

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/cluster/attach"
	"podstep.dev/adapter/cluster/attach/exec"
	"podstep.dev/adapter/cluster/workload"
	"podstep.dev/adapter/config"
	"podstep.dev/adapter/doctor"
	"podstep.dev/internal/fault"
)

// sample is a running pod that an agent could be added to; none if the namespace has no such pod.
type sample struct {
	instance *workload.Instance
}

// pod is the target's, or any running one of the namespace.
func (c *Checkup) pod(ctx context.Context, cluster *api.Cluster) (*workload.Instance, error) {
	s, err := c.sample.get(func() (sample, error) {
		name := c.opts.Target
		if name == "" {
			pods, err := cluster.Client.CoreV1().Pods(cluster.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Running"})
			if err != nil {
				return sample{}, cluster.Fault(err, "list pods")
			}
			for i := range pods.Items {
				if p := &pods.Items[i]; p.DeletionTimestamp == nil && !p.Spec.HostNetwork && managedBy(p) != "podstep" {
					name = config.KindPod + "/" + p.Name
					break
				}
			}
		}
		if name == "" {
			return sample{}, nil
		}
		target, err := config.ParseTarget(name)
		if err != nil {
			return sample{}, err
		}
		found, err := workload.Find(ctx, cluster, target, workload.Options{Log: c.opts.Log})
		if err != nil {
			return sample{}, err
		}
		return sample{&found.Instances()[0]}, nil
	})
	return s.instance, err
}

func managedBy(p *corev1.Pod) string { return p.Labels["app.kubernetes.io/managed-by"] }

func (c *Checkup) image(context.Context, *api.Cluster) doctor.Finding {
	if c.opts.Agent.Image != "" {
		return doctor.Finding{State: doctor.OK, Found: c.opts.Agent.Image + ", as configured"}
	}
	return doctor.Finding{State: doctor.OK, Found: c.opts.Image + ", this release's; --target shows whether a node gets it"}
}

func (c *Checkup) dryEphemeral(ctx context.Context, cluster *api.Cluster) doctor.Finding {
	return c.dry(ctx, cluster, config.AgentEphemeral)
}

func (c *Checkup) dryJob(ctx context.Context, cluster *api.Cluster) doctor.Finding {
	return c.dry(ctx, cluster, config.AgentJob)
}

// session is a kind of session and what its agent needs.
type session struct {
	name  string
	needs attach.Needs
}

// dry asks the API server whether it would admit an agent, for each of the sessions that need more and more of it.
func (c *Checkup) dry(ctx context.Context, cluster *api.Cluster, kind string) doctor.Finding {
	in, err := c.pod(ctx, cluster)
	switch {
	case err != nil && fault.As(err).ID == fault.Forbidden:
		return doctor.Finding{State: doctor.Skip, Found: "not tried: no pod may be read"}
	case err != nil:
		return doctor.Of(doctor.Fail, err)
	case in == nil:
		return doctor.Finding{State: doctor.Skip, Found: "the namespace has no running pod to try it with"}
	}
	policy := attach.Policy(in.Steal)
	sessions := []session{{"mirror", attach.Needs{Mirror: true, Process: true, Policy: policy}}, {"environment and outgoing", attach.Needs{Process: true, Policy: policy}}}
	if in.Steal == workload.StealAllow {
		sessions = append([]session{{"steal", attach.Needs{Steal: true, Process: true, Policy: policy}}}, sessions...)
	}
	errs := make([]error, len(sessions))
	var group errgroup.Group
	for i, s := range sessions {
		group.Go(func() error {
			errs[i] = c.attacher(cluster).Admits(ctx, attach.Instance{Pod: in.Pod, Container: in.Container, ID: in.ContainerID, Needs: s.needs}, kind)
			return nil
		})
	}
	_ = group.Wait()
	var admitted []string
	var refused error
	for i, err := range errs {
		if err == nil {
			admitted = append(admitted, sessions[i].name)
		} else if refused == nil {
			refused = err
		}
	}
	return c.verdict(kind, in, admitted, refused)
}

// verdict says which sessions are possible. A kind that is not asked for is no failure by itself.
func (c *Checkup) verdict(kind string, in *workload.Instance, admitted []string, refused error) doctor.Finding {
	if refused == nil {
		return doctor.Finding{State: doctor.OK, Found: fmt.Sprintf("admitted beside %s: %s", in, strings.Join(admitted, ", "))}
	}
	known := fault.As(refused)
	if known.ID == fault.Forbidden && c.opts.Agent.Kind != kind {
		return doctor.Finding{State: doctor.Skip, Found: "not allowed, as said above"}
	}
	f := doctor.Of(doctor.Warn, known)
	if len(admitted) > 0 {
		f.Found = fmt.Sprintf("admitted beside %s only for: %s. Else: %s", in, strings.Join(admitted, ", "), f.Found)
	} else if c.opts.Agent.Kind == kind {
		f.State = doctor.Fail
	}
	// What Pod Security refuses is asked for by its own check.
	if known.ID == fault.AgentRefused && kind == config.AgentEphemeral && !strings.Contains(known.Error(), "violates PodSecurity") {
		f.Ask = "admission: ephemeral containers called podstep-* with at most the capabilities NET_ADMIN, NET_RAW and SYS_PTRACE (docs/policy bounds them). What refuses them: " + known.Summary()
	}
	return f
}

func (c *Checkup) attacher(cluster *api.Cluster) *attach.Attacher {
	return &attach.Attacher{
		Cluster: cluster, Log: c.opts.Log, Agent: c.opts.Agent, Image: c.opts.Image,
		Exec: &exec.Dialer{Config: cluster.Config, Client: cluster.Client.CoreV1().RESTClient(), Log: c.opts.Log},
	}
}
