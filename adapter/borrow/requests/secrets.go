package requests

import (
	"regexp"
	"strings"
)

// Secrets says what becomes of secrets where a request is shown.
type Secrets bool

// Masked replaces secrets by asterisks, Plain shows them.
const (
	Masked Secrets = false
	Plain  Secrets = true
)

const (
	mask     = "****"
	formType = "application/x-www-form-urlencoded"
)

// isSecret reports whether a field, a parameter or a member of that name has a value that others must not see. It knows the usual
// names, and is careful with those that sound like them.
func isSecret(name string) bool {
	name = strings.NewReplacer("-", "", "_", "", ".", "", " ", "").Replace(strings.ToLower(name))
	switch name {
	case "authorization", "proxyauthorization", "authenticationinfo", "cookie", "setcookie", "xforwardedclientcert", "sig", "signature", "xamzsignature", "pin", "otp":
		return true
	}
	for _, word := range []string{"token", "secret", "password", "passwd", "passphrase", "apikey", "accesskey", "privatekey", "session", "credential", "jwt", "csrf", "xsrf"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// value shows the value of a header field.
func (s Secrets) value(name, value string) string {
	if s == Plain || value == "" {
		return value
	}
	switch name := strings.ToLower(name); name {
	case "cookie":
		return maskPairs(value)
	case "set-cookie":
		pair, attributes, more := strings.Cut(value, ";")
		if more {
			return maskPairs(pair) + ";" + attributes
		}
		return maskPairs(pair)
	case "authorization", "proxy-authorization":
		if scheme, _, ok := strings.Cut(value, " "); ok {
			return scheme + " " + mask
		}
		return mask
	case "referer", "location", "content-location", "link":
		return s.target(value)
	}
	if isSecret(name) {
		return mask
	}
	return value
}

// maskPairs shows the names of cookies.
func maskPairs(value string) string {
	pairs := strings.Split(value, ";")
	for i, pair := range pairs {
		if name, _, ok := strings.Cut(pair, "="); ok {
			pairs[i] = name + "=" + mask
		} else {
			pairs[i] = mask
		}
	}
	return strings.Join(pairs, ";")
}

// target shows a request's target, or another URL.
func (s Secrets) target(target string) string {
	path, query, ok := strings.Cut(target, "?")
	if s == Plain || !ok {
		return target
	}
	return path + "?" + s.form(query)
}

// form shows parameters.
func (s Secrets) form(text string) string {
	if s == Plain {
		return text
	}
	pairs := strings.Split(text, "&")
	for i, pair := range pairs {
		if name, value, _ := strings.Cut(pair, "="); value != "" && isSecret(name) {
			pairs[i] = name + "=" + mask
		}
	}
	return strings.Join(pairs, "&")
}

// text shows a body: forms and JSON have names that tell secrets; what has none is shown as it is.
func (s Secrets) text(contentType, text string) string {
	switch kind := strings.ToLower(contentType); {
	case s == Plain:
		return text
	case isJSON(kind, text):
		return maskJSON(text)
	case strings.HasPrefix(kind, formType):
		return s.form(text)
	}
	return text
}

// isJSON tells JSON by its type or, as many clients send a wrong one, by its beginning.
func isJSON(kind, text string) bool {
	text = strings.TrimLeft(text, " \t\r\n")
	return strings.Contains(kind, "json") || strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[")
}

// maskJSON masks strings and numbers of members whose names tell secrets. It works on text that is cut, too, and keeps its spacing.
func maskJSON(text string) string {
	return eachMember(text, func(name, value string) string {
		if isSecret(name) {
			return `"` + mask + `"`
		}
		return value
	})
}

// eachMember replaces the values of members that are strings or numbers.
func eachMember(text string, replace func(name, value string) string) string {
	member := regexp.MustCompile(`"((?:[^"\\]|\\.)*)"(\s*:\s*)("(?:[^"\\]|\\.)*(?:"|$)|-?[0-9][0-9.eE+-]*)`)
	return member.ReplaceAllStringFunc(text, func(m string) string {
		parts := member.FindStringSubmatch(m)
		return `"` + parts[1] + `"` + parts[2] + replace(parts[1], parts[3])
	})
}

// unmaskJSON puts the values of plain back where text has members that are masked, in their order.
func unmaskJSON(text, plain string) string {
	values := map[string][]string{}
	eachMember(plain, func(name, value string) string {
		values[name] = append(values[name], value)
		return value
	})
	return eachMember(text, func(name, value string) string {
		if all := values[name]; value == `"`+mask+`"` && len(all) > 0 {
			values[name] = all[1:]
			return all[0]
		}
		return value
	})
}

// unmaskForm does the same with parameters.
func unmaskForm(text, plain string) string {
	values := map[string][]string{}
	for pair := range strings.SplitSeq(plain, "&") {
		name, value, _ := strings.Cut(pair, "=")
		values[name] = append(values[name], value)
	}
	pairs := strings.Split(text, "&")
	for i, pair := range pairs {
		if name, value, _ := strings.Cut(pair, "="); value == mask && len(values[name]) > 0 {
			pairs[i] = name + "=" + values[name][0]
			values[name] = values[name][1:]
		}
	}
	return strings.Join(pairs, "&")
}
