package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"podstep.dev/internal/fault"
)

// rule says in a person's words what is wrong with a string of the block, or nil.
type rule func(string) error

// maxWait is in seconds: nothing that others pay for lasts longer, an agent that nobody uses, or a request that waits.
const maxWait = 3600

// maxHeld is how many requests may wait. Each is a connection and some memory in the target's pod.
const maxHeld = 1000

// rules holds each shape's rule; see reader for shapes.
func rules() map[string]rule {
	return map[string]rule{
		"target":                  checkTarget,
		"kubeconfig":              checkFilled,
		"context":                 checkFilled,
		"namespace":               checkLabel,
		"pods":                    oneOf(PodsAll, PodsOne),
		"agent.kind":              oneOf(AgentAuto, AgentEphemeral, AgentJob),
		"agent.namespace":         checkLabel,
		"agent.image":             checkWord,
		"agent.linger":            whole("seconds", 0, maxWait),
		"incoming.mode":           oneOf(ModeMirror, ModeSteal, ModeOff),
		"incoming.onPause":        oneOf(PausePassthrough, PauseHold, PauseReject),
		"incoming.hold.requests":  whole("requests", 0, maxHeld),
		"incoming.hold.seconds":   whole("seconds", 1, maxWait),
		"incoming.onExit":         oneOf(FailFallback, FailError),
		"incoming.onHang":         oneOf(FailFallback, FailError),
		"incoming.existing":       oneOf(ExistingKeep, ExistingReset),
		"incoming.probes":         oneOf(ProbesTarget, ProbesDebuggee),
		"incoming.rules[].action": oneOf(RuleBreak, RuleFail, RuleDelay),
		"incoming.rules[].status": checkStatus,
		"incoming.rules[].body":   checkBody,
		"incoming.rules[].delay":  checkDelay,
		"incoming.rules[].times":  whole("requests", 1, 65535),
		"incoming.hangTimeout":    whole("seconds", 0, maxWait),
		"outgoing.local[]":        CheckLocal,
		"env.include[]":           checkName,
		"env.exclude[]":           checkName,
		"env.override{}":          checkName,
		"env.override{}=":         checkValue,
	}
}

func checkTarget(s string) error {
	_, err := ParseTarget(s)
	var f *fault.Fault
	if errors.As(err, &f) {
		return errors.New(f.What)
	}
	return err
}

// CheckValue says what is wrong with the value of one of the block's keys ("agent.kind") when it is given on a command line.
func CheckValue(key, value string) error {
	if keeps, ok := rules()[key]; ok {
		return keeps(value)
	}
	return nil
}

// whole wants a number in its one usual form.
func whole(unit string, least, most uint64) rule {
	return func(s string) error {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n < least || n > most || s != strconv.FormatUint(n, 10) {
			return fmt.Errorf("want a whole number of %s from %d to %d, got %s", unit, least, most, shorten(s))
		}
		return nil
	}
}

func oneOf(words ...string) rule {
	return func(s string) error {
		if slices.Contains(words, s) {
			return nil
		}
		if near := nearest(s, words); near != "" {
			return fmt.Errorf("unknown value %q; did you mean %q?", s, near)
		}
		return fmt.Errorf("unknown value %q; known are %s", s, strings.Join(words, ", "))
	}
}

// CheckLocal says what is wrong with one destination of "outgoing.local": an address or a prefix, with a port or without,
// or a port alone.
func CheckLocal(s string) error {
	host, port, err := splitLocal(s)
	if err != nil {
		return err
	}
	if _, err := parsePort(port); port != "" && err != nil {
		return fmt.Errorf("%q: %w", s, err)
	}
	if host == "" {
		if port == "" {
			return errors.New(`empty; want an address, a prefix or a port such as ":443"`)
		}
		return nil
	}
	if address, bits, isPrefix := strings.Cut(host, "/"); isPrefix {
		return checkPrefix(s, address, bits)
	}
	return checkAddress(s, host)
}

// splitLocal takes the port off. An IPv6 address with a port stands in brackets; without brackets it has no port.
func splitLocal(s string) (host, port string, err error) {
	if rest, bracketed := strings.CutPrefix(s, "["); bracketed {
		host, port, found := strings.Cut(rest, "]")
		switch {
		case !found:
			return "", "", fmt.Errorf("%q has no closing bracket", s)
		case port == "":
			return "", "", fmt.Errorf("%q: brackets are for an address with a port; write %s", s, host)
		case !strings.HasPrefix(port, ":") || port == ":":
			return "", "", fmt.Errorf("%q: want :PORT after the bracket", s)
		}
		return host, port[1:], nil
	}
	if strings.Count(s, ":") != 1 {
		return s, "", nil
	}
	host, port, _ = strings.Cut(s, ":")
	if port == "" {
		return "", "", fmt.Errorf("%q: want a port after the colon", s)
	}
	return host, port, nil
}

func checkPrefix(s, address, bits string) error {
	if err := checkAddress(s, address); err != nil {
		return err
	}
	prefix, err := netip.ParsePrefix(address + "/" + bits)
	if err != nil {
		return fmt.Errorf("%q: /%s is no prefix length of %s", s, bits, address)
	}
	if prefix != prefix.Masked() {
		return fmt.Errorf("%q: the address has bits beyond the prefix; did you mean %s?", s, prefix.Masked())
	}
	return nil
}

func checkAddress(s, address string) error {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return badHost(s, address)
	}
	if a.Zone() != "" {
		return fmt.Errorf("%q: link-local addresses are this machine's anyway; leave the zone %q out", s, a.Zone())
	}
	return nil
}

// badHost tells a name from a mistyped address.
func badHost(s, host string) error {
	if strings.ContainsFunc(host, func(c rune) bool { return c > 'f' && c <= 'z' || c > 'F' && c <= 'Z' }) {
		return fmt.Errorf("%q: %q is a name; names are resolved before the connection is made, so only addresses, prefixes and ports can be told apart", s, host)
	}
	return fmt.Errorf("%q: %q is not an IP address", s, host)
}

// checkName wants a variable's name, or a pattern of one: * has no other meaning in a name.
func checkName(s string) error {
	switch {
	case s == "":
		return errors.New("the name of a variable is empty")
	case strings.ContainsAny(s, "=\x00"):
		return fmt.Errorf("%q cannot be the name of a variable", s)
	}
	return nil
}

func checkValue(s string) error {
	if strings.Contains(s, "\x00") {
		return errors.New("the value has a NUL character, which no variable can have")
	}
	return nil
}
