package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/invopop/jsonschema"

	"podstep.dev/adapter/config"
)

// newReflector reads the comments of package config in dir.
func newReflector(dir string) (*jsonschema.Reflector, error) {
	r := &jsonschema.Reflector{
		Anonymous:                  true,
		DoNotReference:             true,
		ExpandedStruct:             true,
		RequiredFromJSONSchemaTags: true,
		Mapper:                     ofFilter,
	}
	const path = "podstep.dev/adapter/config"
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := r.AddGoComments("", dir); err != nil {
		return nil, fmt.Errorf("read comments of %s: %w", path, err)
	}
	// The keys are made of the directory; what counts are its last element, the type and the field.
	comments := map[string]string{}
	for key, text := range r.CommentMap {
		name := key[strings.LastIndexByte(key, '/')+1:]
		comments[strings.TrimSuffix(path, "config")+name] = strings.ReplaceAll(text, "\n", " ")
	}
	r.CommentMap = comments
	return r, nil
}

// schemaFile is the schema of the block alone.
func schemaFile(r *jsonschema.Reflector) ([]byte, error) {
	s := r.Reflect(&config.Mirror{})
	boundPorts(s)
	s.Definitions = filterDefinitions(r)
	s.Title = `podstep's "mirror" block`
	s.Description = r.CommentMap["podstep.dev/adapter/config.Launch.Mirror"]
	return indented(s)
}

// attributesFile is what package.json has as configurationAttributes: VS Code renders markdownDescription.
func attributesFile(r *jsonschema.Reflector) ([]byte, error) {
	s := r.Reflect(&config.Launch{})
	boundPorts(s.Properties.Value("mirror"))
	attributes, err := generic(map[string]any{"launch": map[string]any{"required": s.Required, "properties": s.Properties}})
	if err != nil {
		return nil, err
	}
	definitions, err := generic(filterDefinitions(r))
	if err != nil {
		return nil, err
	}
	return indented(markdown(inline(attributes, definitions, false)))
}

// generic is v as its JSON form is read into maps.
func generic(v any) (map[string]any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	err = json.Unmarshal(text, &out)
	return out, err
}

// boundPorts says what the type of a map of ports cannot: keys and values are 1 to 65535.
func boundPorts(block *jsonschema.Schema) {
	incoming := block.Properties.Value("incoming").Properties
	ports, tls := incoming.Value("ports"), incoming.Value("tls")
	ports.AdditionalProperties = &jsonschema.Schema{Type: "integer", Minimum: "1", Maximum: "65535"}
	for _, s := range tls.PatternProperties {
		tls.PatternProperties, tls.AdditionalProperties = nil, s
	}
	for _, s := range []*jsonschema.Schema{ports, tls} {
		s.PropertyNames = &jsonschema.Schema{Pattern: "^[1-9][0-9]{0,4}$"}
	}
}

// markdown renames every schema's description, but not a property of that name.
func markdown(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := map[string]any{}
	for key, value := range m {
		if s, isText := value.(string); isText && key == "description" {
			out["markdownDescription"] = s
			continue
		}
		out[key] = markdown(value)
	}
	return out
}

func indented(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return b.Bytes(), nil
}
