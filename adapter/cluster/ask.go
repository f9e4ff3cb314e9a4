package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"podstep.dev/adapter/cluster/api"
	"podstep.dev/adapter/cluster/attach/exec"
	"podstep.dev/adapter/cluster/workload"
	"podstep.dev/adapter/config"
	"podstep.dev/internal/control"
	"podstep.dev/internal/fault"
	"podstep.dev/internal/mux"
	"podstep.dev/internal/program"
	"podstep.dev/internal/wire"
)

// asking is how much longer than the person's own patience an agent may take to answer.
const asking = 15 * time.Second

// Question is for a session that steals.
type Question struct {
	// Name is who asks, as the person sees it.
	Name string
	// Message is for that person.
	Message string
	// Wait is how long the answer is waited for.
	Wait time.Duration
	// Told is called when it is known who is asked, before the question is sent. If nil, it is not.
	Told func(*Thief)
}

// Ask asks the one session that is meant to give the port back, or all that it steals. Errors are *fault.Fault: NobodySteals, BadUsage when several
// sessions are meant, AskFailed.
func Ask(ctx context.Context, o api.Options, target config.Target, which Which, q Question) (*Thief, wire.Reply, error) {
	w, err := own(ctx, o, target, which.AgentNamespace)
	if err != nil {
		return nil, "", err
	}
	defer w.close()
	thieves, err := w.choose(which)
	if err != nil {
		return nil, "", err
	}
	if len(thieves) > 1 {
		return nil, "", &fault.Fault{ID: fault.BadUsage, What: "several sessions steal " + which.of(target), Hint: "Choose one by --session or --port: " + list(thieves) + "."}
	}
	t := thieves[0]
	if q.Told != nil {
		q.Told(t)
	}
	reply, err := w.ask(ctx, t, which.Port, q, o.Log)
	return t, reply, err
}

// ask asks by the agent of one pod: the session is the same at all of them.
func (w *owned) ask(ctx context.Context, t *Thief, port uint16, q Question, log *zap.Logger) (wire.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, q.Wait+asking)
	defer cancel()
	at := t.agents[0]
	client, hangUp, err := join(ctx, w.dialer, at, q.Name, log)
	if err != nil {
		return "", err
	}
	defer hangUp()
	answer, err := client.Ask(ctx, wire.AskParams{Session: t.Session.Session, Port: port, Message: q.Message, Wait: int((q.Wait + time.Second - 1) / time.Second)})
	var refusal *wire.Refusal
	switch {
	case err == nil:
		return answer.Reply, nil
	case errors.As(err, &refusal) && refusal.Reason == wire.ReasonUnsupported:
		return "", fault.New(fault.AskFailed, fmt.Sprintf("the agent of pod/%s is of an older podstep, which passes no questions on", t.pods[0]), nil)
	case errors.As(err, &refusal):
		return "", fault.New(fault.AskFailed, "the question was not passed on", errors.New(refusal.Text))
	}
	return "", fault.Or(err, fault.LinkLost, fmt.Sprintf("the agent of pod/%s did not answer", t.pods[0]))
}

// join is a conversation with an agent, without a session: name is who has it. The caller hangs up.
func join(ctx context.Context, d *exec.Dialer, a workload.Agent, name string, log *zap.Logger) (_ *control.Client, hangUp func(), err error) {
	conn, err := d.Dial(ctx, exec.Call{Namespace: a.Namespace, Pod: a.Pod, Container: a.Container, Command: []string{"/podstep-agent", "join"}})
	if err != nil {
		return nil, nil, api.Fault(err, "join the agent of pod/"+a.Pod)
	}
	cut := sync.OnceFunc(func() { _ = conn.Close() })
	stop := context.AfterFunc(ctx, cut)
	fail := func(err error) (*control.Client, func(), error) {
		stop()
		cut()
		return nil, nil, fault.Or(err, fault.LinkLost, "the agent of pod/"+a.Pod+" does not answer")
	}
	link, err := mux.Start(ctx, conn, mux.AdapterSide, mux.Options{Log: log, Hello: wire.Hello{Program: "podstep " + program.Version(), Holder: name}})
	if err != nil {
		return fail(err)
	}
	stream, err := link.Open(ctx, wire.Header{Kind: wire.KindControl}, nil)
	if err != nil {
		_ = link.Close()
		return fail(err)
	}
	client := control.NewClient(ctx, stream, nil, log)
	return client, func() {
		stop()
		_ = client.Close()
		_ = link.Close()
		cut()
	}, nil
}
