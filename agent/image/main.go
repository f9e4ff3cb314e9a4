// Command image makes a container image of static programs as an OCI archive, without any container engine: podstep's agent, and the
// services of the tests. "kind load image-archive", "k3d image import", "podman load" and "ctr images import" take what it writes.
//
//	image -o out.tar -ref test.local/shop:1 -entrypoint /shop /shop=build/shop /etc/shop.conf=shop.conf
//
// A file is PATH=SOURCE: where it is in the image, and here. In a SOURCE {os} and {arch} stand for the platform's, so that
// -platforms linux/amd64,linux/arm64 makes one image for both. The same input gives the same bytes: no time, user or mode of this
// machine goes in, but whether a file is executable.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	s, out, err := parse(args)
	if err != nil {
		return err
	}
	index, err := s.build()
	if err != nil {
		return fmt.Errorf("make %s: %w", s.ref, err)
	}
	return writeArchive(out, s.ref, index)
}

// A spec is the image that is wanted.
type spec struct {
	ref        name.Tag
	platforms  []v1.Platform
	entrypoint []string
	env        []string
	user       string
	labels     map[string]string
	// files are sources by their path in the image, which begins with "/".
	files map[string]string
	// plain leaves the files uncompressed: larger, and quicker to load.
	plain bool
}

func parse(args []string) (s *spec, out string, err error) {
	s = &spec{labels: map[string]string{}, files: map[string]string{}}
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.StringVar(&out, "o", "", "archive to write")
	ref := flags.String("ref", "", "the image's name and tag, in full: example.com/shop:1")
	platforms := flags.String("platforms", "linux/"+runtime.GOARCH, "comma-separated OS/ARCHITECTURE[/VARIANT]")
	flags.Func("entrypoint", "a word of the entry point; repeat it for each", appendTo(&s.entrypoint))
	flags.Func("env", "a variable, NAME=VALUE; may be repeated", appendTo(&s.env))
	flags.StringVar(&s.user, "user", "", "user[:group] that the entry point is run as; empty: root")
	flags.Func("label", "a label, NAME=VALUE; may be repeated", func(text string) error { return put(s.labels, text) })
	flags.BoolVar(&s.plain, "plain", false, "do not compress: larger, and quicker to load")
	if err := flags.Parse(args); err != nil {
		return nil, "", err
	}
	if out == "" || flags.NArg() == 0 {
		return nil, "", errors.New("usage: image -o OUT.tar -ref NAME:TAG -entrypoint WORD PATH=SOURCE, one or more")
	}
	if s.ref, err = name.NewTag(*ref, name.StrictValidation); err != nil {
		return nil, "", fmt.Errorf("-ref: %w", err)
	}
	for text := range strings.SplitSeq(*platforms, ",") {
		p, err := v1.ParsePlatform(text)
		if err != nil || p.Architecture == "" {
			return nil, "", fmt.Errorf("-platforms: %q is not OS/ARCHITECTURE", text)
		}
		s.platforms = append(s.platforms, *p)
	}
	for _, text := range flags.Args() {
		if !strings.HasPrefix(text, "/") {
			return nil, "", fmt.Errorf("file %q is not /PATH=SOURCE", text)
		}
		if err := put(s.files, text); err != nil {
			return nil, "", err
		}
	}
	return s, out, nil
}

func appendTo(list *[]string) func(string) error {
	return func(text string) error {
		*list = append(*list, text)
		return nil
	}
}

// put reads NAME=VALUE into m.
func put(m map[string]string, text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" || value == "" {
		return fmt.Errorf("%q is not NAME=VALUE", text)
	}
	if _, twice := m[key]; twice {
		return fmt.Errorf("%s is given twice", key)
	}
	m[key] = value
	return nil
}
