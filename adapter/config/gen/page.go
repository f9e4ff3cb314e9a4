package main

import (
	"github.com/invopop/jsonschema"
)

func page(r *jsonschema.Reflector) []byte { return nil }
