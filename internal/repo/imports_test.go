package repo_test

import (
	"path"
	"slices"
	"strings"
	"testing"

	"podstep.dev/internal/repo"
)

// A rule says who may import a package, or a tree of them, and why nobody else may.
type rule struct {
	// imported is the path's beginning.
	imported string
	// by lists the directories that may, each with what is below it. Empty: nobody.
	by []string
	// tests says whether tests of any directory may, too.
	tests bool
	why   string
}

// libraries are the rules for what is not ours.
func libraries() []rule {
	return []rule{
		{"github.com/google/go-dap", []string{"adapter/dap", "internal/testkit", "test"}, true, "its codec drops fields and refuses long messages: only typed messages that we author use it"},
		{"github.com/hashicorp/yamux", []string{"internal/mux"}, false, "its Close is a half-close and it has no reset: it is wrapped once"},
		{"github.com/sourcegraph/jsonrpc2", []string{"internal/control"}, false, "its handlers run on the read loop and its errors lose their type: it is wrapped once"},
		{"k8s.io", []string{"adapter/cluster", "test/e2e", "test/bench/cluster"}, false, "a Kubernetes client is 22 MB and 7 ms of start in every program that has it"},
		{"sigs.k8s.io", []string{"adapter/cluster", "test/e2e", "test/bench/cluster"}, false, "a Kubernetes client is 22 MB and 7 ms of start in every program that has it"},
		{"github.com/invopop/jsonschema", []string{"adapter/config/gen"}, false, "the schema is made from comments, which a binary does not have"},
		{"github.com/spf13/cobra", []string{"adapter/cmd"}, false, "logic does not know flags"},
		{"google.golang.org/grpc", nil, true, "podstep reads what gRPC does with HTTP/2, and no program of it speaks gRPC: it is for tests"},
		{"github.com/google/nftables", []string{"agent/incoming", "test/e2e"}, true, "kernel rules have one place, with their undo"},
		{"log", nil, false, "standard output is the DAP channel, and log lines are zap's"},
		{"math/rand/v2", []string{"test", "internal/testkit"}, true, "names and ports that others must not guess come from crypto/rand"},
	}
}

// rooms are the rules for what is ours.
func rooms() []rule {
	return []rule{
		{repo.Module + "/adapter", []string{"adapter", "test"}, false, "launcher, agent and internal are linked into programs that must stay tiny, and know nothing of editors"},
		{repo.Module + "/launcher", []string{"launcher", "adapter", "test"}, false, "the agent runs in the pod, the launcher at the workstation"},
		{repo.Module + "/agent", []string{"agent", "test"}, true, "the agent is reached over the wire only, so that it can be another release"},
		{repo.Module + "/internal/testkit", []string{"internal/testkit", "test"}, true, "it is for tests"},
		{repo.Module + "/test", []string{"test"}, false, "it is for tests"},
	}
}

// standardOnly lists directories without any import but the standard library's.
func standardOnly() map[string]string {
	return map[string]string{
		"internal/wire":   "the protocol is what other programs implement: it must be readable by itself",
		"internal/fault":  "everything that meets a person uses it",
		"internal/filter": "it decides for every request that a pod gets, is part of the protocol, and is pure",
		"launcher/rules":  "it decides for every connection of the debuggee, and is pure",
	}
}

// acquainted lists siblings that may be imported by each other's neighbours: siblings otherwise meet in their parent.
func acquainted() map[string]string {
	return map[string]string{
		"adapter/config": "its values are what the adapter's rooms are given",
		"adapter/doctor": "a check is what every room that can be examined makes",
		"adapter/place":  "it is what whoever finds targets and whoever borrows them agree on",
		"launcher/rules": "its values are what the supervisor is given",
	}
}

func TestLibrariesAreImportedInTheirPlace(t *testing.T) { checkRules(t, libraries()) }

func TestRoomsImportDownwardOnly(t *testing.T) { checkRules(t, rooms()) }

func checkRules(t *testing.T, rules []rule) {
	for _, f := range sources(t) {
		for _, imported := range f.Imports() {
			for _, r := range rules {
				if !within(imported, r.imported) || slices.ContainsFunc(r.by, func(dir string) bool { return within(f.Dir, dir) }) || r.tests && f.IsTest() {
					continue
				}
				t.Errorf("%s imports %s; only %v may: %s", f.Path, imported, r.by, r.why)
			}
		}
	}
}

func TestSiblingsMeetInTheirParent(t *testing.T) {
	for _, f := range sources(t) {
		for _, imported := range f.Imports() {
			dir, ours := strings.CutPrefix(imported, repo.Module+"/")
			if !ours || f.IsTest() || acquainted()[dir] != "" {
				continue
			}
			program, _, _ := strings.Cut(dir, "/")
			if program != "adapter" && program != "launcher" && program != "agent" {
				continue
			}
			if room := topRoom(dir); room != "" && room != topRoom(f.Dir) && topRoom(f.Dir) != "" && within(f.Dir, program) && !within(f.Dir, program+"/cmd") {
				t.Errorf("%s imports its sibling %s; siblings meet in %s", f.Path, dir, path.Dir(room))
			}
		}
	}
}

// topRoom is the room of a program that dir belongs to: "adapter/dap" of "adapter/dap/x", "" of "adapter".
func topRoom(dir string) string {
	parts := strings.SplitN(dir, "/", 3)
	if len(parts) < 2 {
		return ""
	}
	return parts[0] + "/" + parts[1]
}

func TestPureRoomsUseTheStandardLibraryOnly(t *testing.T) {
	for _, f := range sources(t) {
		why, pure := standardOnly()[f.Dir]
		if !pure || f.IsTest() {
			continue
		}
		for _, imported := range f.Imports() {
			if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") {
				t.Errorf("%s imports %s; %s uses the standard library only: %s", f.Path, imported, f.Dir, why)
			}
		}
	}
}

// within tells whether a path is prefix or below it.
func within(name, prefix string) bool { return name == prefix || strings.HasPrefix(name, prefix+"/") }
