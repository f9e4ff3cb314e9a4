package config

// Conditions are the keys of a filter. They are documentation, like Launch: package filter reads them.
type Conditions struct {
	// The method, or a list of methods: `"GET"`, `["GET", "HEAD"]`.
	Method any `json:"method,omitempty" jsonschema:"oneof_type=string;array"`
	// The host that is asked for, without the port: `"shop.example"`.
	Host Text `json:"host,omitzero"`
	// The path, without the query: `"/health"`, `{"prefix": "/api/"}`, `{"glob": "/api/*/items/**"}`.
	Path PathText `json:"path,omitzero"`
	// Headers by name, in capital or small letters: `{"x-user": "alice"}`.
	Header map[string]Text `json:"header,omitempty"`
	// Parameters of the query by name, decoded: `{"user": "alice"}`.
	Query map[string]Text `json:"query,omitempty"`
	// Cookies by name, as they are sent: `{"session": {"prefix": "test-"}}`.
	Cookie map[string]Text `json:"cookie,omitempty"`
	// Members of the W3C baggage by name, decoded, which tracing libraries hand on from service to service: `{"user": "alice"}`.
	Baggage map[string]Text `json:"baggage,omitempty"`
	// Members of the W3C tracestate by key.
	Tracestate map[string]Text `json:"tracestate,omitempty"`
	// A gRPC service by its full name, and its method if wanted: `{"service": "shop.v1.Cart", "method": "Get"}`.
	GRPC Call `json:"grpc,omitzero"`
	// Values of a JSON body of at most 64 KiB by path: `{"user.id": "7"}`, `{"items[0].id": "7"}`, `{"$[\"x.y\"]": "7"}`. Numbers, `true`, `false` and
	// `null` are compared as they are written. A body without a type, or with that of a form, as `curl -d` sends it, is read, too.
	JSON map[string]Text `json:"json,omitempty"`
	// Filters that all must match.
	All []Conditions `json:"all,omitempty" jsonschema:"minItems=1"`
	// Filters of which one must match.
	Any []Conditions `json:"any,omitempty" jsonschema:"minItems=1"`
	// A filter that must not match.
	Not *Conditions `json:"not,omitempty"`
	// Takes only some of the requests that everything beside it matches: `{"every": 10}` one in ten, `{"first": 5}` the first five. Each pod
	// counts for itself.
	Sample Sample `json:"sample,omitzero"`
}

// Text is what a value of a request is compared with: a string is Exact, or an object has one of the keys.
type Text struct {
	// The value is this.
	Exact string `json:"exact,omitempty"`
	// The value begins with this.
	Prefix string `json:"prefix,omitempty"`
	// The value as a whole matches this regular expression (RE2): `"a.*"` for all that begin with an a. Values of more than 4 KiB match none.
	Regex string `json:"regex,omitempty"`
	// Whether there is a value at all.
	Present bool `json:"present,omitempty"`
}

// PathText is Text for a path.
type PathText struct {
	// The path is this.
	Exact string `json:"exact,omitempty"`
	// The path begins with this.
	Prefix string `json:"prefix,omitempty"`
	// The path as a whole matches this regular expression (RE2).
	Regex string `json:"regex,omitempty"`
	// The path as a whole is this, where `*` stands for any characters but a slash and `**` for any.
	Glob string `json:"glob,omitempty"`
}

// Call is a gRPC service and method.
type Call struct {
	// The service's full name: `shop.v1.Cart`.
	Service string `json:"service" jsonschema:"required"`
	// The method's name: `Get`. Without it, any.
	Method string `json:"method,omitempty"`
}

// Sample has one of the keys.
type Sample struct {
	// One of so many requests.
	Every int `json:"every,omitempty" jsonschema:"minimum=1"`
	// So many requests, the first ones.
	First int `json:"first,omitempty" jsonschema:"minimum=1"`
}
