package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/invopop/jsonschema"

	"podstep.dev/adapter/config"
)

const head = `<!-- Made by "make generate" from the comments of adapter/config. -->
# Configuration

A launch configuration of type ` + "`podstep`" + ` is one of the debugger's with two keys more: ` + "`debugger`" + ` names the debugger, ` + "`mirror`" + ` says
what to stand in for. Everything else is handed to the debugger as it is. A configuration of another type
(` + "`go`, `debugpy`" + `) may have a ` + "`mirror`" + ` block too; the VS Code extension then makes it one of podstep's.

` + "```jsonc\n" + example + "```" + `

` + "`podstep check FILE`" + ` says everything that is wrong with a launch.json, with one configuration of it or with one ` + "`mirror`" + ` block, with line numbers.
` + "`podstep run -f FILE`" + ` takes the block from such a file. ` + "`podstep schema`" + ` prints its JSON schema. Comments and trailing commas are
allowed everywhere.

## The ` + "`mirror`" + ` block
`

// example is checked by a test.
const example = `{
  "version": "0.2.0",
  "configurations": [
    {
      "name": "Step through the shop's requests",
      "type": "podstep",
      "request": "launch",
      "debugger": "dlv",
      "program": "${workspaceFolder}",
      "mirror": {
        "target": "deployment/web",  // or process/4242, a process on this machine
        "incoming": {"mode": "steal", "ports": {"80": 8080}, "filter": {"header": {"x-user": "alice"}}},
        "outgoing": {"local": ["192.168.0.0/16:5432"]},  // the database on this machine's network
        "env": {"exclude": ["AWS_*"], "override": {"LOG": "debug"}},
      },
    },
  ],
}
`

// page is docs/configuration.md.
func page(r *jsonschema.Reflector) []byte {
	launch := r.Reflect(&config.Launch{})
	block := launch.Properties.Value("mirror")
	boundPorts(block)
	var b bytes.Buffer
	b.WriteString(head)
	properties(&b, "", block)
	filters(&b, filterDefinitions(r))
	b.WriteString("\n## Variables that stay this machine's\n\nThese of the target's environment variables are not taken, because they describe the target's files or its login and a\nprocess on this machine would break with them. Naming one in full in `env.include` takes it nevertheless; `env.override` sets it.\n\n| variables | are about |\n|---|---|\n")
	for _, v := range config.LocalVariables() {
		fmt.Fprintf(&b, "| %s | %s |\n", code(v.Names), v.Why)
	}
	b.WriteString("\n## The keys beside it\n\nEditors complete these; podstep itself reads `debugger`, and what it needs to build the program, and hands all of them on.\n\n| key | type | |\n|---|---|---|\n")
	for p := launch.Properties.Oldest(); p != nil; p = p.Next() {
		if p.Key != "mirror" {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", p.Key, kind(p.Value), p.Value.Description+terms(p.Value, required(launch, p.Key)))
		}
	}
	return b.Bytes()
}

// properties writes a section per key, the keys of objects after the object.
func properties(b *bytes.Buffer, path string, s *jsonschema.Schema) {
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		name := path + p.Key
		fmt.Fprintf(b, "\n### `%s`\n%s. %s%s\n", name, strings.ToUpper(kind(p.Value)[:1])+kind(p.Value)[1:], p.Value.Description, terms(p.Value, required(s, p.Key)))
		if p.Value.Properties != nil {
			properties(b, name+".", p.Value)
		}
		if each := p.Value.AdditionalProperties; each != nil && each.Properties != nil {
			properties(b, name+".PORT.", each)
		}
		if items := p.Value.Items; items != nil && items.Properties != nil {
			properties(b, name+"[].", items)
		}
	}
}

func required(s *jsonschema.Schema, key string) bool {
	for _, r := range s.Required {
		if r == key {
			return true
		}
	}
	return false
}

// terms says whether a key is needed, what it may be and what it is otherwise.
func terms(s *jsonschema.Schema, required bool) string {
	var out string
	if required {
		out += " Required."
	}
	if len(s.Enum) > 0 {
		out += " One of " + code(s.Enum) + "."
	}
	if s.Default != nil {
		text, _ := json.Marshal(s.Default) // it came out of JSON
		out += fmt.Sprintf(" Default: `%s`.", text)
	}
	return out
}

// kind is a type in a person's words.
func kind(s *jsonschema.Schema) string {
	switch {
	case s.Ref != "", len(s.AllOf) > 0:
		return "object"
	case len(s.OneOf) > 0:
		return kind(s.OneOf[0]) + " or " + kind(s.OneOf[1])
	case s.Type == "array" && s.Items != nil && s.Items.Type != "":
		return "list of " + kind(s.Items) + "s"
	case s.Type == "array":
		return "list"
	case s.Type == "object" && s.Properties == nil && s.AdditionalProperties != nil:
		return "object of " + kind(s.AdditionalProperties) + "s"
	case s.Type == "boolean":
		return "true or false"
	case s.Type == "integer":
		return "number"
	}
	return s.Type
}

// code lists words as code.
func code[T any](words []T) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("`%v`", w)
	}
	return strings.Join(quoted, ", ")
}
