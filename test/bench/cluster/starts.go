//go:build linux

package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"podstep.dev/test/bench/table"
)

// agentArchive is what "make image" makes.
const agentArchive = "build/podstep-agent.tar"

// lingering is how many seconds an agent stays, whoever else leaves it: long enough for the next session, and waited for.
const lingering = 8

// startsOfAll measures from podstep's start to the end of the first stolen request, without an agent and with one that lingers.
func (b *bench) startsOfAll(ctx context.Context) error {
	for _, kind := range []string{"ephemeral", "job"} {
		var cold, warm []time.Duration
		for range b.starts {
			first, err := b.start(ctx, kind, lingering)
			if err != nil {
				return err
			}
			time.Sleep(settling)
			second, err := b.start(ctx, kind, 0)
			if err != nil {
				return err
			}
			cold, warm = append(cold, first), append(warm, second)
			if err := b.agentsGone(ctx); err != nil {
				return err
			}
		}
		table.Start(fmt.Sprintf("podstep run to the first stolen request, cold, agent of kind %s", kind), cold, "under 1.5 s")
		table.Start(fmt.Sprintf("podstep run to the first stolen request, lingering agent of kind %s", kind), warm, "under 300 ms")
	}
	return nil
}

func (b *bench) start(ctx context.Context, kind string, linger int) (time.Duration, error) {
	s, err := b.steal(ctx, kind, linger)
	if err != nil {
		return 0, err
	}
	return s.took, s.end()
}

// sizes looks at the agent's memory in and after a session, and in and after one with much traffic.
func (b *bench) sizes(ctx context.Context) error {
	size := func(what string, bytes int64, aim string) {
		table.Row(what, "–", fmt.Sprintf("%.1f MB", float64(bytes)/1e6), "–", aim)
	}
	var ended []int64
	for i, what := range []string{"one session", "one large body stolen"} {
		s, err := b.steal(ctx, "ephemeral", lingering)
		if err != nil {
			return err
		}
		if i > 0 {
			_, err = b.measured(ctx, "ask", "1", "kept", "-", fmt.Sprint(b.size), b.at(stolenPort))
		}
		during, lookErr := b.resident(ctx)
		if err := errors.Join(err, lookErr, s.end()); err != nil {
			return err
		}
		time.Sleep(settling)
		after, err := b.resident(ctx)
		if err != nil {
			return err
		}
		size("agent, resident memory: "+what, during, "")
		ended = append(ended, after)
	}
	size("agent, resident memory: idle", ended[0], "under 20 MB")
	size("agent, resident memory: idle after one large body", ended[1], "")
	image, err := largest(agentArchive)
	if err != nil {
		return err
	}
	size("agent's image", image, "under 10 MB")
	return nil
}

// resident is the memory of the agent's processes in the target's pod, in bytes.
func (b *bench) resident(ctx context.Context) (bytes int64, err error) {
	out, err := b.in(ctx, b.watcher, "/visitor", "look", string(b.target.UID))
	if err != nil {
		return 0, err
	}
	var seen struct {
		Processes []struct {
			Name string
			RSS  int64 // in KiB
		}
	}
	if err := json.Unmarshal(out, &seen); err != nil {
		return 0, err
	}
	for _, p := range seen.Processes {
		if strings.HasPrefix(p.Name, "podstep") {
			bytes += p.RSS << 10
		}
	}
	if bytes == 0 {
		return 0, errors.New("there is no agent")
	}
	return bytes, nil
}

// largest is the size of an archive's largest file: the one layer of a platform's image.
func largest(path string) (most int64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("%w (make image makes it)", err)
	}
	defer file.Close()
	for archive := tar.NewReader(file); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return most, nil
		}
		if err != nil {
			return 0, err
		}
		most = max(most, header.Size)
	}
}
