package config

import (
	"fmt"
	"strconv"
	"strings"
)

// ParsePort reads "80" or "80:8080" as a command line has it: the target's port, and the debuggee's, which is the same if not given.
func ParsePort(s string) (target, debuggee uint16, err error) {
	first, second, found := strings.Cut(s, ":")
	if !found {
		second = first
	}
	if target, err = parsePort(first); err != nil {
		return 0, 0, err
	}
	debuggee, err = parsePort(second)
	return target, debuggee, err
}

// parsePort reads a port number in its one usual form.
func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s != strconv.FormatUint(n, 10) {
		return 0, fmt.Errorf("port %s is not a whole number from 1 to 65535", shorten(s))
	}
	return uint16(n), nil
}
