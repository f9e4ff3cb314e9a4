package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"podstep.dev/adapter/config"
	"podstep.dev/internal/fault"
)

// block makes the "mirror" block of a run: the file's or the defaults, and the flags on top of it.
func (p *podstep) block(f *runFlags) (config.Mirror, error) {
	m, err := p.blockOfFile(f)
	if err != nil {
		return config.Mirror{}, err
	}
	target, err := config.ParseTarget(m.Target)
	if err != nil {
		return config.Mirror{}, err
	}
	if err := f.cluster(&m, target); err != nil {
		return config.Mirror{}, err
	}
	if err := f.incoming(&m, target); err != nil {
		return config.Mirror{}, err
	}
	if err := f.filterOf(&m, target); err != nil {
		return config.Mirror{}, err
	}
	for _, local := range f.local {
		if err := config.CheckLocal(local); err != nil {
			return config.Mirror{}, usage("--local %w", err)
		}
		m.Outgoing.Local = append(m.Outgoing.Local, local)
	}
	for _, assignment := range f.env {
		name, value, found := strings.Cut(assignment, "=")
		if !found || name == "" {
			return config.Mirror{}, usage("--env %s: want NAME=VALUE", assignment)
		}
		if m.Env.Override == nil {
			m.Env.Override = map[string]string{}
		}
		m.Env.Override[name] = value
	}
	if f.noEnv {
		m.Env.Include = nil
	}
	m.DNS = m.DNS && !f.noDNS
	m.Hostname = m.Hostname && !f.noHostname
	m.Outgoing.TCP = m.Outgoing.TCP && !f.noOutgoing
	return m, nil
}

// blockOfFile reads -f, or makes the default block; --target wins over the file's.
func (p *podstep) blockOfFile(f *runFlags) (config.Mirror, error) {
	if f.target == "" && f.file == "" {
		return config.Mirror{}, usage("no target is given: --target deployment/NAME or process/PID, or -f FILE with one")
	}
	text := []byte("{}")
	if f.file != "" {
		var err error
		if text, err = p.read(f.file); err != nil {
			return config.Mirror{}, err
		}
	}
	if f.target == "" {
		return config.Parse(text)
	}
	target, err := config.ParseTarget(f.target)
	if err != nil {
		return config.Mirror{}, err
	}
	return config.ParseFor(target, text)
}

// cluster puts the flags that are for a target in a cluster on top of the file's keys.
func (f *runFlags) cluster(m *config.Mirror, target config.Target) error {
	for _, flag := range []struct {
		name, value, key string
		into             *string
	}{
		{"--kubeconfig", f.kubeconfig, "kubeconfig", &m.Kubeconfig},
		{"--context", f.context, "context", &m.Context},
		{"--namespace", f.namespace, "namespace", &m.Namespace},
		{"--pods", f.pods, "pods", &m.Pods},
		{"--agent", f.agent, "agent.kind", &m.Agent.Kind},
		{"--linger", f.linger, "agent.linger", nil},
	} {
		if flag.value == "" {
			continue
		}
		if err := errors.Join(target.Fits(flag.key), config.CheckValue(flag.key, flag.value)); err != nil {
			return usage("%s %s: %w", flag.name, flag.value, err)
		}
		if flag.into != nil {
			*flag.into = flag.value
		}
	}
	if f.linger != "" {
		m.Agent.Linger, _ = strconv.Atoi(f.linger) // checked
	}
	return nil
}

// incoming replaces the file's mode and ports when a flag names a port. How requests are treated stays as the file says, its filter too: a flag
// must not make a session take more than its own.
func (f *runFlags) incoming(m *config.Mirror, target config.Target) error {
	flag, ports := "--steal", f.steal
	switch {
	case len(f.steal) > 0 && len(f.mirror) > 0:
		return usage("--steal and --mirror exclude each other: a session either answers requests or gets copies")
	case len(f.steal) > 0:
		m.Incoming.Mode = config.ModeSteal
	case len(f.mirror) > 0:
		m.Incoming.Mode = config.ModeMirror
		flag, ports = "--mirror", f.mirror
	default:
		return nil
	}
	if err := target.Fits("incoming.ports"); err != nil {
		return usage("%s %s: %w", flag, ports[0], err)
	}
	m.Incoming.Ports = map[uint16]uint16{}
	takenBy := map[uint16]uint16{}
	for _, s := range ports {
		target, debuggee, err := config.ParsePort(s)
		if err != nil {
			return usage("%s %s: %w", flag, s, err)
		}
		if _, twice := m.Incoming.Ports[target]; twice {
			return usage("%s %s: the target's port %d is given twice", flag, s, target)
		}
		if other, taken := takenBy[debuggee]; taken {
			return usage("%s %s: port %d of the command is that of the target's port %d already", flag, s, debuggee, other)
		}
		m.Incoming.Ports[target], takenBy[debuggee] = debuggee, target
	}
	return nil
}

// filterOf replaces the file's filter.
func (f *runFlags) filterOf(m *config.Mirror, target config.Target) error {
	if f.filter == "" {
		return nil
	}
	filter, err := config.ParseFilter(f.filter)
	if err := errors.Join(target.Fits("incoming.filter"), err); err != nil {
		return usage("--filter %s: %w", f.filter, err)
	}
	if m.Incoming.Mode == config.ModeOff {
		return usage("--filter %s: incoming traffic is left alone; add --steal or --mirror", f.filter)
	}
	m.Incoming.Filter = filter
	return nil
}

func usage(format string, args ...any) *fault.Fault {
	return fault.New(fault.BadUsage, fmt.Errorf(format, args...).Error(), nil)
}
