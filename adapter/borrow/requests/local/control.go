package local

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"podstep.dev/adapter/borrow/requests"
)

// Release lets a request go on that a rule holds.
func (c *Client) Release(ctx context.Context, id uint64, r requests.Release) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("release a request: %w", err)
	}
	return c.tell(ctx, http.MethodPost, "/requests/"+strconv.FormatUint(id, 10)+"/release", string(text))
}

// Rules lists the session's, in the order in which they are asked.
func (c *Client) Rules(ctx context.Context) (list []requests.Rule, err error) {
	err = c.fetch(ctx, "/rules", &list)
	return list, err
}

// SetRules replaces all of them by a list, and AddRule puts one before the others; see [requests.Control].
func (c *Client) SetRules(ctx context.Context, text string) error {
	return c.tell(ctx, http.MethodPut, "/rules", text)
}

// AddRule puts a rule before the others.
func (c *Client) AddRule(ctx context.Context, text string) error {
	return c.tell(ctx, http.MethodPost, "/rules", text)
}

// tell asks for something that has no answer but its success.
func (c *Client) tell(ctx context.Context, method, path, text string) error {
	body, err := c.ask(ctx, method, path, text)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, body)
	return body.Close()
}

func (s *Server) release(w http.ResponseWriter, r *http.Request) {
	id, _ := strconv.ParseUint(r.PathValue("id"), 10, 64) // 0 is nobody's
	var how requests.Release
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxEdited)).Decode(&how); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	if err := s.log.Control().Release(id, how); err != nil {
		fail(w, http.StatusConflict, err)
		return
	}
	answer(w, struct{}{})
}

// rule sets the rules, or adds one.
func (s *Server) rule(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEdited))
	if err != nil {
		fail(w, http.StatusRequestEntityTooLarge, err)
		return
	}
	change := s.log.Control().SetRules
	if r.Method == http.MethodPost {
		change = s.log.Control().AddRule
	}
	if err := change(text); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	answer(w, struct{}{})
}
