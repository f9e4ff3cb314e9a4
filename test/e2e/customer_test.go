//go:build linux

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"podstep.dev/internal/testkit/visit"
)

// customer is a pod that asks a shop all the time. What it did comes by the pod's log, so that it is complete also when the
// API server or the kubelet was away.
type customer struct {
	*visit.Book
	pod *corev1.Pod
}

// customer starts one, 25 requests a second, and waits until the target answers it. One goroutine reads the log until the
// test ends.
func (s *stage) customer(url string) *customer {
	s.t.Helper()
	c := s.partyCustomer(url, "")
	s.await(c, "the target answers", time.Time{}, visit.By("target"))
	return c
}

// partyCustomer asks for a party, "" for none, and does not wait for an answer.
func (s *stage) partyCustomer(url, party string) *customer {
	s.t.Helper()
	return s.newCustomer(url, 40*time.Millisecond, party)
}

// hastyCustomer asks in other intervals and does not wait for an answer.
func (s *stage) hastyCustomer(url string, every time.Duration) *customer {
	s.t.Helper()
	return s.newCustomer(url, every, "")
}

func (s *stage) newCustomer(url string, every time.Duration, party string) *customer {
	s.t.Helper()
	return s.customerAs(shop{command: []string{"/visitor", "ask", url, every.String(), party}})
}

// customerAs is a customer in a pod like that.
func (s *stage) customerAs(o shop) *customer {
	s.t.Helper()
	o.name = "customer"
	pod := s.pod(o)
	pod.Name, pod.GenerateName = "", "customer-"
	made, err := s.client.CoreV1().Pods(s.ns).Create(s.ctx, pod, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.running(s.ctx, s.ns, made.Name); err != nil {
		s.t.Fatal(err)
	}
	if made, err = s.client.CoreV1().Pods(s.ns).Get(s.ctx, made.Name, metav1.GetOptions{}); err != nil {
		s.t.Fatal(err)
	}
	c := &customer{Book: &visit.Book{}, pod: made}
	var reading sync.WaitGroup
	reading.Go(func() {
		for s.ctx.Err() == nil {
			s.follow(c)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-s.ctx.Done():
			}
		}
	})
	s.t.Cleanup(reading.Wait) // t.Context is done before
	return c
}

// follow reads the customer's log from where it was left until it ends.
func (s *stage) follow(c *customer) {
	options := &corev1.PodLogOptions{Follow: true}
	if last := c.Last(); !last.IsZero() {
		options.SinceTime = &metav1.Time{Time: last.Add(-2 * time.Second)} // whole seconds are what it counts in
	}
	log, err := s.client.CoreV1().Pods(s.ns).GetLogs(c.pod.Name, options).Stream(s.ctx)
	if err != nil {
		return
	}
	defer log.Close()
	for lines := bufio.NewScanner(log); lines.Scan(); {
		var r visit.Request
		if json.Unmarshal(lines.Bytes(), &r) == nil {
			c.Add(r)
		}
	}
}

// address is the customer's, as a service should see it.
func (c *customer) address() string { return c.pod.Status.PodIP }

// tail describes the customer's last requests.
func (c *customer) tail() string {
	all := c.All(time.Time{}, func(visit.Request) bool { return true })
	var b strings.Builder
	for _, r := range all[max(0, len(all)-5):] {
		fmt.Fprintf(&b, "\n  %s after %v: by %q on %s %s", r.Began.Format("15:04:05.000"), r.Took.Round(time.Millisecond), r.By, r.Host, r.Error)
	}
	return b.String()
}
