package tested

import (
	"os"
	"testing"
)

func TestDouble(t *testing.T) {
	if _, err := os.Stat("tested.go"); err != nil { // the working directory is the package's, as with go test
		t.Fatal(err)
	}
	if Double(21) != 42 {
		t.Error("not doubled")
	}
}
