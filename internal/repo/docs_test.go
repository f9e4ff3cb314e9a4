package repo_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"podstep.dev/internal/fault"
)

// TestTroubleshootingHasEveryFaultOfACluster : whoever searches for a number finds what to do.
func TestTroubleshootingHasEveryFaultOfACluster(t *testing.T) {
	page := readPage(t, "docs/troubleshooting.md")
	for _, id := range fault.IDs() {
		// 2xxx the target, 3xxx the agent and the link, 6xxx incoming traffic
		if group := id / 1000; (group == 2 || group == 3 || group == 6) && !strings.Contains(page, fmt.Sprintf("podstep-%d", id)) {
			t.Errorf("docs/troubleshooting.md does not mention podstep-%d", id)
		}
	}
	for _, written := range regexp.MustCompile(`podstep-(\d{4})`).FindAllStringSubmatch(page, -1) {
		if !slices.ContainsFunc(fault.IDs(), func(id fault.ID) bool { return fmt.Sprint(id) == written[1] }) {
			t.Errorf("docs/troubleshooting.md mentions podstep-%s, which there is not", written[1])
		}
	}
}

// TestPagesLinkToWhatExists looks at the links to files and to headings of this repository.
func TestPagesLinkToWhatExists(t *testing.T) {
	pages, err := filepath.Glob(root + "/docs/*.md")
	if err != nil || len(pages) < 5 {
		t.Fatalf("pages %v, %v", pages, err)
	}
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range append(pages, root+"/README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			path, heading, _ := strings.Cut(m[1], "#")
			if strings.Contains(path, ":") {
				continue // elsewhere
			}
			file := filepath.Join(filepath.Dir(page), path)
			if path == "" {
				file = page
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s links to %s: %v", filepath.Base(page), m[1], err)
				continue
			}
			if heading != "" && !slices.Contains(headings(t, file), heading) {
				t.Errorf("%s links to %s: there is no such heading", filepath.Base(page), m[1])
			}
		}
	}
}

// headings are a page's, as links name them: small letters, digits and dashes.
func headings(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if title, is := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); is && strings.HasPrefix(line, "#") {
			name := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(title)), " ", "-")
			names = append(names, regexp.MustCompile(`[^a-z0-9_-]`).ReplaceAllString(name, ""))
		}
	}
	return names
}

// TestSecurityPageHasTheFacts holds what docs/security.md says of paths and times to the sources: each fact is in the page, and
// what it was taken from is still there.
func TestSecurityPageHasTheFacts(t *testing.T) {
	page := readPage(t, "docs/security.md")
	for _, f := range []struct{ said, file, source string }{
		{"`/dev/podstep.sock`", "agent/door/door.go", `Path = "/dev/podstep.sock"`},
		{"mode 0600", "agent/door/door.go", "Umask(0o177)"},
		{"`/dev/termination-log`", "agent/cmd/podstep-agent/resident.go", `"/dev/termination-log"`},
		{"`podstep-resident`", "agent/incoming/redirect/residence.go", `"podstep-resident"`},
		{"`podstep-PORT`", "agent/incoming/redirect/redirect.go", `"podstep-%d"`},
		{"`podstep-clients-PORT`", "agent/incoming/redirect/forget.go", `"podstep-clients-"`},
		{"24 h at most", "agent/cmd/podstep-agent/settings.go", `"lifetime", 24*time.Hour`},
		{"30 s after a lost link", "agent/cmd/podstep-agent/settings.go", `"unjoined", 30*time.Second`},
		{"`linger` (60 s", "adapter/config/mirror.go", "Linger: 60"},
		{"`ttlSecondsAfterFinished: 0`", "adapter/cluster/attach/job.go", "TTLSecondsAfterFinished: ptr.To[int32](0)"},
		{"limit 128 MiB, 1 CPU", "adapter/cluster/attach/job.go", `"128Mi"`},
		{"about 16 MiB", "agent/memory/memory.go", "Program = 16 << 20"},
		{"an eighth of the pod's limit, 4 to 32 MiB", "agent/memory/memory.go", "part = 8"},
		{"`PodstepBorrowed`, `PodstepReturned`", "adapter/cluster/attach/event.go", `"PodstepReturned"`},
		{"`podstep.dev/steal`", "adapter/cluster/workload/steal.go", `"podstep.dev/steal"`},
		{"`podstep.dev/agents=true`", "docs/policy/podstep-steal.yaml", `podstep.dev/agents: "true"`},
		{"`podstep-exec`", "docs/policy/podstep-steal.yaml", "name: podstep-exec"},
		{"mode 0700", "adapter/borrow/dir.go", "0o700"},
		{"`/tmp/podstep-UID/", "adapter/borrow/dir.go", `"podstep-%d"`},
		{"the last 200 HTTP requests, 16 MiB at most", "adapter/borrow/requests/requests.go", "opts.Bytes = 16 << 20"},
		{"the last 200 HTTP requests", "adapter/borrow/requests/requests.go", "opts.Entries = 200"},
	} {
		if !strings.Contains(page, f.said) {
			t.Errorf("docs/security.md does not say %s", f.said)
		}
		// What gofmt aligns is one space here.
		source := regexp.MustCompile(`[ \t]+`).ReplaceAllString(readPage(t, f.file), " ")
		if !strings.Contains(source, f.source) {
			t.Errorf("docs/security.md says %s; %s has no %s", f.said, f.file, f.source)
		}
	}
}

func readPage(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
