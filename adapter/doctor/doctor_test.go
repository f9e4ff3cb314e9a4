package doctor_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/adapter/doctor"
)

func TestRunRunsAtOnceAndTellsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		after := func(name string, d time.Duration) doctor.Check {
			return doctor.Check{Name: name, Run: func(context.Context) doctor.Finding {
				time.Sleep(d)
				return doctor.Finding{State: doctor.OK, Found: d.String()}
			}}
		}
		checks := []doctor.Check{after("slow", 3*time.Second), after("quick", 0), after("slower", 5*time.Second), after("medium", 4*time.Second)}
		began := time.Now()
		var got []string
		doctor.Run(t.Context(), checks,
			func(c doctor.Check) { got = append(got, time.Since(began).String()+" wait for "+c.Name) },
			func(c doctor.Check, f doctor.Finding) {
				got = append(got, time.Since(began).String()+" "+c.Name+" "+f.Found)
			})
		want := []string{
			"1s wait for slow", "3s slow 3s", "3s quick 0s", "4s wait for slower", "5s slower 5s", "5s medium 4s",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("what was told (-want +got):\n%s", diff)
		}
	})
}

func TestRunEndsACheckAtItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check := doctor.Check{Limit: time.Minute, Run: func(ctx context.Context) doctor.Finding {
			<-ctx.Done()
			return doctor.Finding{State: doctor.Fail, Found: context.Cause(ctx).Error()}
		}}
		began := time.Now()
		var got doctor.Finding
		doctor.Run(t.Context(), []doctor.Check{check}, func(doctor.Check) {}, func(_ doctor.Check, f doctor.Finding) { got = f })
		if took := time.Since(began); got.Found != "it took longer than 1m0s" || took != time.Minute {
			t.Errorf("found %q after %s, want the limit's words after a minute", got.Found, took)
		}
	})
}
