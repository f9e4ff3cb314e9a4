//go:build linux

package e2e

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"podstep.dev/internal/testkit/authority"
	"podstep.dev/internal/testkit/visit"
)

// TestTLSOfTheTargetIsTakenOff : with the target's own certificate, which the agent of each kind finds in the container and the customers
// trust, a filter takes requests out of TLS, and the others reach the target over it.
func TestTLSOfTheTargetIsTakenOff(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	a := authority.New(t)
	a.Issue("tls", "shop", "shop."+s.ns+".svc")
	const dir = "/etc/shop-tls"
	_, err := s.client.CoreV1().Secrets(s.ns).Create(s.ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "shop-tls"},
		StringData: map[string]string{"tls.crt": a.Text("tls.crt"), "tls.key": a.Text("tls.key"), "ca.crt": a.Text("ca.crt")},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mounted := func(p *corev1.PodTemplateSpec) {
		p.Spec.Volumes = []corev1.Volume{{Name: "tls", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "shop-tls"}}}}
		c := &p.Spec.Containers[0]
		c.VolumeMounts = []corev1.VolumeMount{{Name: "tls", MountPath: dir, ReadOnly: true}}
		c.Env = append(c.Env, corev1.EnvVar{Name: "SSL_CERT_FILE", Value: dir + "/ca.crt"})
	}
	s.deploy(shop{command: []string{"/visitor", "tally", "80", "target", dir + "/tls.crt", dir + "/tls.key"}, change: mounted})
	s.service("shop", "shop")
	asking := func(party string) *customer {
		return s.customerAs(shop{command: []string{"/visitor", "ask", "https://shop:80", "40ms", party}, change: mounted})
	}
	mine, others := asking("alice"), asking("")
	for _, c := range []*customer{mine, others} {
		s.await(c, "the target answers", time.Time{}, visit.By("target"))
	}
	for _, kind := range []string{"ephemeral", "job"} {
		began := time.Now()
		block := s.filtered(byParty("alice"), "reject")
		block["incoming"].(map[string]any)["tls"] = map[string]any{"80": map[string]any{"cert": dir + "/tls.crt", "key": dir + "/tls.key", "debuggee": "plain"}}
		d := s.launched(s.mirror("deployment/shop", block, linger(kind, 0)))
		r := s.await(mine, kind+": the debuggee answers", began, visit.By("debuggee"))
		s.await(others, kind+": the target answers the others", r.Ended(), visit.By("target"))
		s.disconnect(d)
		s.await(mine, kind+": the target answers again", time.Now(), visit.By("target"))
		if failed := append(mine.Failed(began), others.Failed(began)...); len(failed) > 0 {
			t.Errorf("%s: %d requests failed%s", kind, len(failed), visit.Summary(failed))
		}
		if r, found := others.First(began, func(r visit.Request) bool { return r.By != "target" }); found {
			t.Errorf("%s: a request without the header was answered so: %+v", kind, r)
		}
	}
	s.cleared()
}
