package config_test

import (
	"strings"
	"testing"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
)

func TestParseTargetReadsEachForm(t *testing.T) {
	for s, want := range map[string]config.Target{
		"process/4242":               {Kind: config.KindProcess, PID: 4242},
		"targetless":                 {Kind: config.KindTargetless},
		"pod/web-0":                  {Kind: config.KindPod, Name: "web-0"},
		"po/web-0":                   {Kind: config.KindPod, Name: "web-0"},
		"pods/web-0":                 {Kind: config.KindPod, Name: "web-0"},
		"deployment/web":             {Kind: config.KindDeployment, Name: "web"},
		"deploy/web":                 {Kind: config.KindDeployment, Name: "web"},
		"deployment.apps/web":        {Kind: config.KindDeployment, Name: "web"},
		"sts/db/container/app":       {Kind: config.KindStatefulSet, Name: "db", Container: "app"},
		"ds/log":                     {Kind: config.KindDaemonSet, Name: "log"},
		"replicasets/web-6d4f":       {Kind: config.KindReplicaSet, Name: "web-6d4f"},
		"rs/web-6d4f":                {Kind: config.KindReplicaSet, Name: "web-6d4f"},
		"job/once":                   {Kind: config.KindJob, Name: "once"},
		"job.batch/once":             {Kind: config.KindJob, Name: "once"},
		"cj/nightly":                 {Kind: config.KindCronJob, Name: "nightly"},
		"svc/web":                    {Kind: config.KindService, Name: "web"},
		"service/web":                {Kind: config.KindService, Name: "web"},
		"ro/web":                     {Kind: config.KindRollout, Name: "web"},
		"rollout.argoproj.io/web":    {Kind: config.KindRollout, Name: "web"},
		"deployment/shop.example":    {Kind: config.KindDeployment, Name: "shop.example"},
		"pod/1":                      {Kind: config.KindPod, Name: "1"},
		"pod/container/container/c":  {Kind: config.KindPod, Name: "container", Container: "c"},
		"pod/web-0/container/0-nine": {Kind: config.KindPod, Name: "web-0", Container: "0-nine"},
	} {
		got, err := config.ParseTarget(s)
		if err != nil || got != want {
			t.Errorf("ParseTarget(%q) = %+v, %v; want %+v", s, got, err, want)
		}
		if again, err := config.ParseTarget(got.String()); err != nil || again != want {
			t.Errorf("String of %q is %q, which reads as %+v, %v", s, got, again, err)
		}
	}
	long := config.Target{Kind: config.KindStatefulSet, Name: "db", Container: "app"}
	if got := long.String(); got != "statefulset/db/container/app" {
		t.Errorf("String = %q, want the long form", got)
	}
}

func TestParseTargetSaysWhatIsWrong(t *testing.T) {
	const noName = "cannot be a name in Kubernetes: it has small letters, digits, and between them"
	for s, want := range map[string]string{
		"":                             `the target is empty; want KIND/NAME, for example deployment/web, or process/PID`,
		"4242":                         `target "4242" has no kind; did you mean process/4242?`,
		"web":                          `target "web" has no kind; want KIND/NAME, for example deployment/web, or process/PID`,
		"process":                      `target "process" has no process id; want process/PID, for example process/4242`,
		"process/":                     `target "process/" has no process id; want process/PID, for example process/4242`,
		"process/0":                    `target "process/0" has no process id; want process/PID, for example process/4242`,
		"process/-1":                   `target "process/-1" has no process id; want process/PID, for example process/4242`,
		"process/01":                   `target "process/01" has no process id; want process/PID, for example process/4242`,
		"process/4194305":              `target "process/4194305" has no process id; want process/PID, for example process/4242`,
		"process/1/x":                  `target "process/1/x" has no process id; want process/PID, for example process/4242`,
		"proces/1":                     `target "proces/1" is of the unknown kind "proces"; did you mean "process/1"?`,
		"deployement/web":              `target "deployement/web" is of the unknown kind "deployement"; did you mean "deployment/web"?`,
		"Pod/web-0":                    `target "Pod/web-0" is of the unknown kind "Pod"; did you mean "pod/web-0"?`,
		"configmap/x":                  `target "configmap/x" is of the unknown kind "configmap"; known are pod, deployment, statefulset, daemonset, replicaset, job, cronjob, service, rollout, process`,
		"deployment.batch/web":         `target "deployment.batch/web" is of the unknown kind "deployment.batch"; did you mean "deployment/web"?`,
		"pod":                          `target "pod" has no name; want pod/NAME`,
		"deploy/":                      `target "deploy/" has no name; want deployment/NAME`,
		"pod/Web":                      `target "pod/Web": "Web" has capital letters, which names in Kubernetes have not; did you mean "web"?`,
		"pod/web_0":                    `target "pod/web_0": "web_0" ` + noName + ` "-" and "."`,
		"pod/-web":                     `target "pod/-web": "-web" ` + noName + ` "-" and "."`,
		"pod/web 0":                    `target "pod/web 0": "web 0" ` + noName + ` "-" and "."`,
		"pod/a..b":                     `target "pod/a..b": "a..b" ` + noName + ` "-" and "."`,
		"pod/web/app":                  `target "pod/web/app": want pod/web, or pod/web/container/NAME for one of its containers`,
		"deploy/web/containers/app":    `target "deploy/web/containers/app": want deployment/web, or deployment/web/container/NAME for one of its containers`,
		"deploy/web/container/":        `target "deploy/web/container/": want deployment/web, or deployment/web/container/NAME for one of its containers`,
		"deploy/web/container/a/b":     `target "deploy/web/container/a/b": want deployment/web, or deployment/web/container/NAME for one of its containers`,
		"deploy/web/container/a.b":     `target "deploy/web/container/a.b": container "a.b" ` + noName + ` "-"`,
		"targetless/shop":              `target "targetless/shop": a session without a target is named by "targetless" alone; its namespace is "namespace"`,
		"pod/" + nines(254):            `target "pod/` + nines(254) + `": ` + nines(40) + `... is longer than 253 characters`,
		"pod/a/container/" + nines(64): `target "pod/a/container/` + nines(64) + `": container ` + nines(40) + `... is longer than 63 characters`,
	} {
		_, err := config.ParseTarget(s)
		if f := fault.As(err); f.ID != fault.BadConfig || f.What != want {
			t.Errorf("ParseTarget(%q)\n got %v\nwant %s", s, err, want)
		}
	}
}

func nines(n int) string { return strings.Repeat("9", n) }
