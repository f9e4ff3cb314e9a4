package config

import (
	"maps"
	"slices"
	"strings"
)

// Select returns what of environ (the target's, as "NAME=value") the debuggee gets, the overrides applied. As with getenv the
// first of two entries of one name counts. Entries that are no assignment are left out.
func (e Env) Select(environ []string) map[string]string {
	selected := map[string]string{}
	for _, entry := range environ {
		name, value, found := strings.Cut(entry, "=")
		if _, again := selected[name]; !found || name == "" || again || !e.takes(name) {
			continue
		}
		selected[name] = value
	}
	maps.Copy(selected, e.Override)
	return selected
}

// takes decides on one name: the user's exclude, then a name that include spells out, then what stays local, then include.
func (e Env) takes(name string) bool {
	switch {
	case matches(e.Exclude, name):
		return false
	case slices.Contains(e.Include, name):
		return true
	case staysLocal(name):
		return false
	}
	return matches(e.Include, name)
}

// matches tells whether one of the patterns covers name.
func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return covers(p, name) })
}

// covers matches name with a pattern in which * stands for any characters, none included.
func covers(pattern, name string) bool {
	head, tail, found := strings.Cut(pattern, "*")
	if !found {
		return pattern == name
	}
	rest, ok := strings.CutPrefix(name, head)
	for ok {
		part, after, more := strings.Cut(tail, "*")
		if !more {
			return strings.HasSuffix(rest, part)
		}
		_, rest, ok = strings.Cut(rest, part)
		tail = after
	}
	return false
}
