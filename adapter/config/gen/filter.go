package main

import (
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"

	"podstep.dev/adapter/config"
)

// filterRef leads to the definition of a filter's object.
const filterRef = "#/$defs/filter"

// ofFilter is the schema of the keys that are filters.
func ofFilter(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[config.Filter]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string", Enum: []any{"mine"}}, {Ref: filterRef}}}
	case reflect.TypeFor[config.Only]():
		return &jsonschema.Schema{AllOf: []*jsonschema.Schema{{Ref: filterRef}}}
	}
	return nil
}

// filterDefinitions are the definitions that filterRef needs, itself among them. A filter holds filters, so it cannot be written out.
func filterDefinitions(r *jsonschema.Reflector) jsonschema.Definitions {
	nested := *r
	nested.DoNotReference, nested.ExpandedStruct = false, false
	nested.Namer = func(t reflect.Type) string {
		if t == reflect.TypeFor[config.Conditions]() {
			return strings.TrimPrefix(filterRef, "#/$defs/")
		}
		first, rest := t.Name()[:min(1, len(t.Name()))], t.Name()[min(1, len(t.Name())):]
		return strings.ToLower(first) + rest
	}
	all := nested.Reflect(&config.Conditions{}).Definitions
	for _, d := range all {
		d.Description = "" // of the Go type
	}
	one := uint64(1)
	for _, name := range []string{"text", "pathText"} {
		all[name].MinProperties, all[name].MaxProperties = &one, &one
		all[name] = &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string"}, all[name]}}
	}
	all["filter"].MinProperties = &one
	all["sample"].MinProperties, all["sample"].MaxProperties = &one, &one
	return all
}

// inline writes the definitions out in v where it refers to them: what an editor takes out of package.json has no definitions. Filters in a
// filter are only named keys then.
func inline(v any, definitions map[string]any, inFilter bool) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i, element := range v {
			out[i] = inline(element, definitions, inFilter)
		}
		return out
	case map[string]any:
		ref, ok := v["$ref"].(string)
		if !ok {
			out := map[string]any{}
			for key, value := range v {
				out[key] = inline(value, definitions, inFilter)
			}
			return out
		}
		out := map[string]any{}
		definition := definitions[strings.TrimPrefix(ref, "#/$defs/")]
		if ref == filterRef && inFilter {
			out["type"], out["properties"] = "object", keysOnly(definition)
		} else {
			out = inline(definition, definitions, true).(map[string]any)
		}
		if said, ok := v["description"]; ok {
			out["description"] = said
		}
		return out
	}
	return v
}

// keysOnly are the properties of a schema, of any type.
func keysOnly(schema any) map[string]any {
	properties := map[string]any{}
	for key := range schema.(map[string]any)["properties"].(map[string]any) {
		properties[key] = map[string]any{}
	}
	return properties
}
