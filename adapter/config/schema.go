package config

import _ "embed" // the schema is made at generation: comments are not in the binary

//go:generate go run ./gen

//go:embed schema.json
var schema string

//go:embed attributes.json
var attributes string

// Schema is the JSON schema of the "mirror" block.
func Schema() []byte { return []byte(schema) }

// Attributes is the "configurationAttributes" of a debugger in an extension's package.json: ours and those of the debuggers,
// which editors would mark as unknown otherwise.
func Attributes() []byte { return []byte(attributes) }
