package workload

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func revokedPod(value string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-0", Annotations: map[string]string{RevokedAnnotation: value}}}
}

func TestRevocationBindsWhomItNames(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	later, past := now.Add(time.Hour), now.Add(-time.Hour)
	until := func(t time.Time, more string) string {
		return fmt.Sprintf(`[{"until":%q%s}]`, t.Format(time.RFC3339), more)
	}
	for name, test := range map[string]struct {
		value string
		binds bool
		until time.Time
	}{
		"this session":                {`[{"sessions":["k3"],"by":"olga","reason":"load"}]`, true, time.Time{}},
		"another session":             {`[{"sessions":["k4"]}]`, false, time.Time{}},
		"among several":               {`[{"sessions":["k4"]},{"sessions":["k5","k3"]}]`, true, time.Time{}},
		"everybody until later":       {until(later, ""), true, later},
		"everybody until before":      {until(past, ""), false, time.Time{}},
		"this person until later":     {until(later, `,"holders":["alice@laptop"]`), true, later},
		"another person until later":  {until(later, `,"holders":["bob@laptop"]`), false, time.Time{}},
		"this session until before":   {until(past, `,"sessions":["k3"]`), true, time.Time{}},
		"nobody":                      {`[]`, false, time.Time{}},
		"an entry of nobody":          {`[{}]`, false, time.Time{}},
		"words by hand":               {`all`, true, time.Time{}},
		"empty":                       {``, true, time.Time{}},
		"one that is not in a list":   {`{"sessions":["k4"]}`, true, time.Time{}},
		"fields of a later release":   {`[{"sessions":["k4"],"unheard":1}]`, false, time.Time{}},
		"a time that cannot be read":  {`[{"until":"tomorrow"}]`, true, time.Time{}},
		"a session and others' until": {`[{"sessions":["k3"],"until":"` + later.Format(time.RFC3339) + `","holders":["bob@laptop"]}]`, true, later},
	} {
		r, binds := Revoked(revokedPod(test.value), "k3", "alice@laptop", now)
		if binds != test.binds || !r.Until.Equal(test.until) {
			t.Errorf("%s: %v until %v, want %v until %v", name, binds, r.Until, test.binds, test.until)
		}
		if binds && r.Where != "pod/web-0" {
			t.Errorf("%s: stands at %q", name, r.Where)
		}
	}
	if _, binds := Revoked(&corev1.Pod{}, "k3", "alice@laptop", now); binds {
		t.Error("a pod without the annotation revokes")
	}
	if r, _ := Revoked(revokedPod(`[{"sessions":["k3"],"by":"olga","reason":"load"}]`), "k3", "", now); r.String() != "olga revoked stealing (load)" {
		t.Errorf("said %q", r)
	}
}

func TestRevocationsAreKeptAsLongAsTheyBind(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)
	pod := revokedPod(`[{"sessions":["k3"]},{"until":"2026-01-02T14:59:00Z"},{"until":"2026-01-02T15:01:00Z","by":"olga"}]`)
	pod = revokedPod(WithRevocation(pod, Revocation{Sessions: []string{"k4"}, By: "olga", Time: now}, now))
	if want := `[{"sessions":["k3"]},{"until":"2026-01-02T15:01:00Z","by":"olga"},{"sessions":["k4"],"by":"olga","time":"2026-01-02T15:00:00Z"}]`; pod.Annotations[RevokedAnnotation] != want {
		t.Errorf("%s, want %s", pod.Annotations[RevokedAnnotation], want)
	}
	for n := range 3 * maxRevocations {
		pod = revokedPod(WithRevocation(pod, Revocation{Sessions: []string{fmt.Sprint("s", n)}}, now))
	}
	text := pod.Annotations[RevokedAnnotation]
	if n := strings.Count(text, "sessions"); n != maxRevocations || !strings.Contains(text, `"s95"`) || strings.Contains(text, `"s1"`) {
		t.Errorf("%d are kept: %s", n, text)
	}
	// What cannot be read goes on to bind beside what is added.
	pod = revokedPod(WithRevocation(revokedPod("all"), Revocation{Sessions: []string{"k4"}}, now))
	if _, binds := Revoked(pod, "k3", "alice@laptop", now); !binds {
		t.Error("what somebody wrote by hand was taken away")
	}
}
