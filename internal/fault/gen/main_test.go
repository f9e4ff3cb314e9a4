package main

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestErrorsPageIsUpToDate(t *testing.T) {
	text, err := os.ReadFile(path(".."))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(page()), string(text)); diff != "" {
		t.Errorf("docs/errors.md is stale, run make generate (-want +got):\n%s", diff)
	}
}
