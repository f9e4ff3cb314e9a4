package repo_test

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"
)

func TestProgramsAndExtensionAreOneRelease(t *testing.T) {
	makefile, err := os.ReadFile(root + "/Makefile")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^VERSION := (\S+)$`).FindSubmatch(makefile)
	if version == nil {
		t.Fatal("the Makefile has no VERSION")
	}
	text, err := os.ReadFile(root + "/extension/package.json")
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct{ Version string }
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.Version != string(version[1]) {
		t.Errorf("the extension is %s, the programs are %s", manifest.Version, version[1])
	}
}
