package workload_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"podstep.dev/adapter/cluster/workload"
	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/testkit"
)

const template = `
    metadata: {labels: {app: %[2]s}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: app, image: IMAGE, imagePullPolicy: IfNotPresent, securityContext: {runAsUser: 1234, runAsGroup: 4321}}]`

func controller(version, kind, name, more string) string {
	return fmt.Sprintf("apiVersion: "+version+"\nkind: %[1]s\nmetadata: {name: %[2]s}\nspec:\n  "+more+"\n  selector: {matchLabels: {app: %[2]s}}\n  template:"+template, kind, name)
}

func TestFindReachesEveryKind(t *testing.T) {
	c := connect(t)
	apply(t, c, controller("apps/v1", "Deployment", "web", "replicas: 2"))
	apply(t, c, controller("apps/v1", "StatefulSet", "db", "serviceName: db"))
	apply(t, c, controller("apps/v1", "DaemonSet", "log", "minReadySeconds: 0"))
	apply(t, c, controller("apps/v1", "ReplicaSet", "bare", "replicas: 1"))
	apply(t, c, `
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers: [{name: app, image: IMAGE}]
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: alone, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: app, image: IMAGE}]`)
	for target, want := range map[string]int{
		"deployment/web": 2, "statefulset/db": 1, "daemonset/log": 2, "replicaset/bare": 1, "job/once": 1,
		"service/shop": 3, "pod/alone": 1, "deploy/web/container/app": 2,
	} {
		t.Run(target, func(t *testing.T) {
			set := awaitSet(t, found(t, c, target, workload.Options{}).Watch(t.Context()), func(set []workload.Instance) bool { return len(set) == want })
			for _, i := range set {
				if i.Container != "app" || len(i.ContainerID) != 64 || i.Steal != workload.StealAllow || i.Loopback {
					t.Errorf("%s: container %q, id %q, steal %q, loopback %v", i, i.Container, i.ContainerID, i.Steal, i.Loopback)
				}
				if owned := i.Pod.OwnerReferences != nil; owned && target != "job/once" && (i.User == nil || i.User.UID != 1234 || i.User.GID != 4321) {
					t.Errorf("%s runs as %v, want 1234:4321", i, i.User)
				}
			}
		})
	}
}

func TestWatchMovesToTheNewestJobOfACronJob(t *testing.T) {
	c := connect(t)
	apply(t, c, `
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: app, image: IMAGE}]}}}}`)
	cron, err := c.Client.BatchV1().CronJobs(c.Namespace).Get(t.Context(), "nightly", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	run := func(job, owner string) {
		apply(t, c, fmt.Sprintf(`
apiVersion: batch/v1
kind: Job
metadata:
  name: %s
  ownerReferences: [%s]
spec:
  template:
    spec: {restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{name: app, image: IMAGE}]}`, job, owner))
	}
	owner := fmt.Sprintf("{apiVersion: batch/v1, kind: CronJob, name: nightly, uid: %s, controller: true}", cron.UID)
	of := func(job string) func([]workload.Instance) bool {
		return func(set []workload.Instance) bool { return len(set) == 1 && set[0].Pod.Labels["job-name"] == job }
	}
	run("stranger", "")
	run("first", owner)
	sets := found(t, c, "cronjob/nightly", workload.Options{}).Watch(t.Context())
	awaitSet(t, sets, of("first"))
	<-time.After(1100 * time.Millisecond) // creation times are in whole seconds
	run("second", owner)
	awaitSet(t, sets, of("second"))
}

func TestFindSaysWhyNot(t *testing.T) {
	c := connect(t)
	pod := func(name, labels, more string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: {%s}}\nspec:\n  terminationGracePeriodSeconds: 0\n  %s", name, labels, more)
	}
	apply(t, c, strings.Join([]string{
		controller("apps/v1", "Deployment", "shop", "replicas: 1"),
		controller("apps/v1", "Deployment", "none", "replicas: 0"),
		controller("apps/v1", "StatefulSet", "stateful", "serviceName: db"),
		pod("imageless", "a: b", "containers: [{name: app, image: test.local/none:1, imagePullPolicy: Never}]"),
		pod("crash", "a: b", `containers: [{name: app, image: ENDS}]`),
		pod("nowhere", "a: b", `containers: [{name: app, image: IMAGE}]
  nodeSelector: {no: such}`),
		pod("unready", "app: unready", `containers: [{name: app, image: IMAGE, readinessProbe: {httpGet: {port: 1}, periodSeconds: 1}}]`),
		pod("hosted", "a: b", `containers: [{name: app, image: IMAGE}]
  hostNetwork: true`),
		pod("prepared", "a: b", `containers: [{name: app, image: IMAGE}]
  initContainers: [{name: first, image: ENDS}]`),
		"apiVersion: v1\nkind: Service\nmetadata: {name: alias}\nspec: {type: ExternalName, externalName: db.invalid}",
		"apiVersion: v1\nkind: Service\nmetadata: {name: manual}\nspec: {ports: [{port: 80}]}",
		"apiVersion: v1\nkind: Service\nmetadata: {name: unready}\nspec: {selector: {app: unready}, ports: [{port: 80}]}",
		"apiVersion: v1\nkind: Service\nmetadata: {name: empty}\nspec: {selector: {app: nobody}, ports: [{port: 80}]}",
	}, "\n---\n"))
	found(t, c, "deployment/shop", workload.Options{})
	found(t, c, "pod/hosted", workload.Options{})
	found(t, c, "pod/prepared", workload.Options{})
	for _, test := range []struct {
		target, what, hint string
		id                 fault.ID
	}{
		{"deployment/shob", `there is no deployment "shob" in namespace`, "Did you mean deployment/shop?", fault.NoTarget},
		{"deployment/stateful", `there is no deployment "stateful"`, "Did you mean statefulset/stateful?", fault.NoTarget},
		{"pod/alon", `there is no pod "alon"`, "podstep targets -n " + c.Namespace, fault.NoTarget},
		{"rollout/shop", "the cluster has no objects of the kind rollout", "rollouts.argoproj.io is not installed", fault.NoTarget},
		{"deployment/shop/container/ap", `has no container "ap"`, `Did you mean "app"? It has: app.`, fault.NoTarget},
		{"pod/prepared/container/first", `container "first" of pod "prepared" is an init container`, "These can be: app.", fault.NoTarget},
		{"deployment/none", "deployment/none has no pod: it is scaled to 0", "podstep targets", fault.NotReady},
		{"pod/imageless", "pod/imageless does not run: ErrImageNeverPull", "kubectl describe pod", fault.NotReady},
		{"pod/crash", "(container app)", "kubectl describe pod", fault.NotReady},
		{"pod/nowhere", "Unschedulable: 0/", "kubectl describe pod", fault.NotReady},
		{"service/unready", "none of the 1 pods of service/unready is ready (1: container app is running but not ready)", "borrowed by its name: pod/unready", fault.NotReady},
		{"service/empty", "none has the labels that it selects: app=nobody", "", fault.NotReady},
		{"service/alias", `service "alias" is an alias of db.invalid`, "podstep targets", fault.NoTarget},
		{"service/manual", `service "manual" has no selector`, "podstep targets", fault.NoTarget},
		{"pod/hosted", `pod "hosted" is in its node's network`, `"mode": "off"`, fault.TargetShared},
	} {
		t.Run(test.target, func(t *testing.T) {
			target, err := config.ParseTarget(test.target)
			if err != nil {
				t.Fatal(err)
			}
			var f *fault.Fault
			testkit.Eventually(t, test.what, func() bool {
				_, err := workload.Find(t.Context(), c, target, workload.Options{Incoming: true})
				return errors.As(err, &f) && strings.Contains(f.Summary(), test.what)
			})
			if f.ID != test.id || !strings.Contains(f.Advice(), test.hint) {
				t.Errorf("fault %v, want id %d and a hint with %q", f, test.id, test.hint)
			}
			t.Log(f)
		})
	}
	found(t, c, "pod/unready", workload.Options{})
}
