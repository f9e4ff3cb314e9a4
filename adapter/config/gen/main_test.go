package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/adapter/config"
)

func TestGeneratedFilesAreUpToDate(t *testing.T) {
	files, err := generate("..")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is stale, run make generate (-want +got):\n%s", filepath.Base(path), diff)
		}
	}
}

func TestExtensionHasTheAttributes(t *testing.T) {
	text, err := os.ReadFile("../../../extension/package.json")
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Contributes struct {
			Debuggers []struct {
				Type                    string
				ConfigurationAttributes any
			}
		}
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	var want any
	if err := json.Unmarshal(config.Attributes(), &want); err != nil {
		t.Fatal(err)
	}
	for _, d := range manifest.Contributes.Debuggers {
		if d.Type != config.Type {
			continue
		}
		if diff := cmp.Diff(want, d.ConfigurationAttributes); diff != "" {
			t.Errorf("extension/package.json is stale, run make generate (-want +got):\n%s", diff)
		}
		return
	}
	t.Errorf("extension/package.json contributes no debugger of type %s", config.Type)
}

func TestExampleOfThePageIsValid(t *testing.T) {
	report := config.Check([]byte(example))
	if report.Blocks != 1 || len(report.Problems) != 0 {
		t.Errorf("Check(example) = %+v, want one block without problems", report)
	}
	report = config.Check([]byte(`{"target": "process/1", "incoming": {"filter": ` + filterExample + `}}`))
	if len(report.Filters) != 1 || len(report.Problems) != 0 {
		t.Errorf("Check(filterExample) = %+v, want a filter without problems", report)
	}
}
