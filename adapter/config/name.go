package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// Names of Kubernetes (apimachinery's util/validation): a label of RFC 1123, and labels with dots between.
var (
	label     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	subdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
)

const (
	maxLabel     = 63
	maxSubdomain = 253
)

// checkLabel wants the name of a namespace or of a container.
func checkLabel(s string) error { return checkNameOf(s, label, maxLabel, `"-"`) }

// checkSubdomain wants the name of any other thing.
func checkSubdomain(s string) error { return checkNameOf(s, subdomain, maxSubdomain, `"-" and "."`) }

func checkNameOf(s string, form *regexp.Regexp, limit int, others string) error {
	switch {
	case len(s) > limit:
		return fmt.Errorf("%s is longer than %d characters", shorten(s), limit)
	case form.MatchString(s):
		return nil
	case form.MatchString(strings.ToLower(s)):
		return fmt.Errorf("%q has capital letters, which names in Kubernetes have not; did you mean %q?", s, strings.ToLower(s))
	}
	return fmt.Errorf("%q cannot be a name in Kubernetes: it has small letters, digits, and between them %s", s, others)
}

// checkWord wants something without spaces: an image, a context.
func checkWord(s string) error {
	if s == "" {
		return errors.New("empty; leave the key out for the default")
	}
	if strings.ContainsFunc(s, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }) {
		return fmt.Errorf("%s has a space in it", shorten(s))
	}
	return nil
}

// checkFilled wants anything but nothing.
func checkFilled(s string) error {
	if strings.TrimSpace(s) == "" {
		return errors.New("empty; leave the key out for the default")
	}
	return nil
}
