package local

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// Ports are what a session steals.
type Ports interface {
	// Yield gives ports back, all if none is named, and returns which.
	Yield(ctx context.Context, ports []uint16) ([]uint16, error)
	// Keep answers no to one question, or to all that are open if id is 0, and returns to how many.
	Keep(ctx context.Context, id uint64) int
}

func (s *Server) yield(w http.ResponseWriter, r *http.Request) {
	var ports []uint16
	for _, word := range r.URL.Query()["port"] {
		port, err := strconv.ParseUint(word, 10, 16)
		if err != nil {
			fail(w, http.StatusBadRequest, fmt.Errorf("%q is no port", word))
			return
		}
		ports = append(ports, uint16(port))
	}
	// What is begun is finished, whatever becomes of the client.
	given, err := s.ports.Yield(context.WithoutCancel(r.Context()), ports)
	if err != nil {
		fail(w, http.StatusConflict, err)
		return
	}
	answer(w, given)
}

func (s *Server) keep(w http.ResponseWriter, r *http.Request) {
	answer(w, s.ports.Keep(r.Context(), 0))
}

// Yield has the session give ports back, all that it steals if none is named.
func (c *Client) Yield(ctx context.Context, ports []uint16) (given []uint16, err error) {
	path := "/yield?"
	for _, p := range ports {
		path += fmt.Sprintf("port=%d&", p)
	}
	return given, c.post(ctx, path, &given)
}

// Keep has it answer no to all who ask, and returns how many that were.
func (c *Client) Keep(ctx context.Context) (asked int, err error) {
	return asked, c.post(ctx, "/keep", &asked)
}

func (c *Client) post(ctx context.Context, path string, to any) error {
	body, err := c.ask(ctx, http.MethodPost, path, "")
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(body).Decode(to)
}
