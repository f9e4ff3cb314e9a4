package local

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"podstep.dev/adapter/borrow/requests"
)

// Client asks one session. It may be used by several goroutines.
type Client struct {
	// About is the session.
	About Session

	http http.Client
}

// Dial asks the session of a directory who it is. The error is ErrGone when none is served there; what a session that was killed left behind
// is removed. The caller calls Close.
func Dial(ctx context.Context, dir string) (*Client, error) {
	path := filepath.Join(dir, socketName)
	c := &Client{}
	c.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}
	err := c.fetch(ctx, "/session", &c.About)
	if err == nil {
		return c, nil
	}
	c.Close()
	if errors.Is(err, syscall.ECONNREFUSED) {
		_ = os.Remove(path)
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) {
		err = ErrGone
	}
	return nil, err
}

// Close lets go of the session.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// List returns what the session keeps, see [requests.Log.List].
func (c *Client) List(ctx context.Context, since uint64, limit int) (list []requests.Summary, err error) {
	err = c.fetch(ctx, fmt.Sprintf("/requests?since=%d&limit=%d", since, limit), &list)
	return list, err
}

// Archive returns all that the session keeps.
func (c *Client) Archive(ctx context.Context, s requests.Secrets) (har requests.HAR, err error) {
	err = c.fetch(ctx, "/har?"+plainly(s), &har)
	return har, err
}

// Follow tells of what is kept behind the request since and of all changes from then on, until the session is over: then the error is ErrGone.
func (c *Client) Follow(ctx context.Context, since uint64, tell func(Change) error) error {
	body, err := c.ask(ctx, http.MethodGet, fmt.Sprintf("/follow?since=%d", since), "")
	if err != nil {
		return err
	}
	defer body.Close()
	lines := json.NewDecoder(bufio.NewReader(body))
	for {
		var change Change
		if err := lines.Decode(&change); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return ErrGone
		}
		if err := tell(change); err != nil {
			return err
		}
	}
}

// Show returns one request as text in the given form.
func (c *Client) Show(ctx context.Context, id uint64, as requests.Form, s requests.Secrets) (string, error) {
	body, err := c.ask(ctx, http.MethodGet, "/requests/"+strconv.FormatUint(id, 10)+"?as="+url.QueryEscape(string(as))+"&"+plainly(s), "")
	if err != nil {
		return "", err
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	return string(text), err
}

// Replay sends a request again and returns when it is over; see [requests.Log.Replay]. The end of ctx ends it.
func (c *Client) Replay(ctx context.Context, id uint64, edited string) (e requests.Entry, err error) {
	body, err := c.ask(ctx, http.MethodPost, "/requests/"+strconv.FormatUint(id, 10)+"/replay", edited)
	if err != nil {
		return e, err
	}
	defer body.Close()
	return e, json.NewDecoder(body).Decode(&e)
}

func (c *Client) fetch(ctx context.Context, path string, to any) error {
	body, err := c.ask(ctx, http.MethodGet, path, "")
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(to); err != nil {
		return fmt.Errorf("read the session's answer: %w", err)
	}
	return nil
}

// ask returns the body of the answer, or why there is none.
func (c *Client) ask(ctx context.Context, method, path, body string) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://session"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	answer, err := c.http.Do(r)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, fmt.Errorf("ask the session: %w", errors.Unwrap(err))
	case answer.StatusCode == http.StatusOK:
		return answer.Body, nil
	}
	defer answer.Body.Close()
	p := &Problem{Status: answer.StatusCode}
	if err := json.NewDecoder(answer.Body).Decode(p); err != nil || p.Text == "" {
		p.Text = answer.Status
	}
	return nil, p
}

func plainly(s requests.Secrets) string {
	if s == requests.Plain {
		return "secrets=plain"
	}
	return ""
}
