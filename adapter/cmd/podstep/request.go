package main

import (
	"bufio"
	"bytes"
	"io"
	"maps"
	"net/http"
	"slices"

	"podstep.dev/internal/fault"
	"podstep.dev/internal/filter"
)

// sampleRequest is a request of HTTP/1 that stands in a file.
type sampleRequest struct {
	file string
	filter.Request
	body []byte
}

// readRequest reads a request as it is sent, or as a person writes it down: with line feeds alone, without a length, without the empty line
// at the end.
func (p *podstep) readRequest(path string) (*sampleRequest, error) {
	text, err := p.read(path)
	if err != nil {
		return nil, err
	}
	head, body := splitHead(text)
	r, err := http.ReadRequest(bufio.NewReader(io.MultiReader(bytes.NewReader(head), bytes.NewReader(body))))
	if err != nil {
		return nil, badRequest(err)
	}
	s := &sampleRequest{file: path, body: body, Request: filter.Request{Method: r.Method, Target: r.RequestURI}}
	if len(r.TransferEncoding) > 0 {
		if s.body, err = io.ReadAll(r.Body); err != nil {
			return nil, badRequest(err)
		}
	}
	var fields filter.List
	if r.Host != "" {
		fields = append(fields, filter.Field{Name: "Host", Value: r.Host})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[name] {
			fields = append(fields, filter.Field{Name: name, Value: value})
		}
	}
	s.Fields = fields
	return s, nil
}

// splitHead returns the head with its empty line, which it adds if there is none, and what follows.
func splitHead(text []byte) (head, body []byte) {
	end := 0
	for line := range bytes.Lines(text) {
		end += len(line)
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return text[:end:end], text[end:]
		}
	}
	return append(bytes.TrimRight(text, "\r\n"), "\r\n\r\n"...), nil
}

func badRequest(err error) *fault.Fault {
	f := fault.New(fault.BadFile, "the file is no HTTP/1 request", err)
	f.Hint = "It begins with a line such as: GET /api/items HTTP/1.1"
	return f
}
