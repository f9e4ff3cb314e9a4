package main

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPageIsUpToDate(t *testing.T) {
	got, err := os.ReadFile(path(".."))
	if err != nil {
		t.Fatal(err)
	}
	want, err := renew(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/security.md is stale, run make generate (-want +got):\n%s", diff)
	}
}

func TestRenewRefusesAPageWithoutMarks(t *testing.T) {
	if page, err := renew([]byte("# Security\n" + begin)); err == nil {
		t.Errorf("renew = %q, want an error: there is no end of the table", page)
	}
}
