// Command gen makes what editors and people read of the configuration from the comments of package config: schema.json and
// attributes.json beside it, and docs/configuration.md. It runs by go generate, in adapter/config; a test fails when a file is stale.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// run writes every generated file; dir is adapter/config.
func run(dir string) error {
	files, err := generate(dir)
	if err != nil {
		return err
	}
	for path, text := range files {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate returns the text of every generated file by its path.
func generate(dir string) (map[string][]byte, error) {
	r, err := newReflector(dir)
	if err != nil {
		return nil, err
	}
	schema, err := schemaFile(r)
	if err != nil {
		return nil, err
	}
	attributes, err := attributesFile(r)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		filepath.Join(dir, "schema.json"):                       schema,
		filepath.Join(dir, "attributes.json"):                   attributes,
		filepath.Join(dir, "..", "..", "docs/configuration.md"): page(r),
	}, nil
}
