package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"podstep.dev/adapter/borrow/requests"
)

// Server serves one session. Its goroutines: one that accepts, and those of the connections; Close ends and awaits all.
type Server struct {
	about Session
	log   *requests.Log
	ports Ports
	zap   *zap.Logger
	http  http.Server
	end   context.CancelFunc
	all   sync.WaitGroup
	path  string
}

// Serve begins to serve requests in dir, the session's directory, and to give ports back. The caller calls Close.
func Serve(ctx context.Context, dir string, about Session, log *requests.Log, ports Ports, zap *zap.Logger) (*Server, error) {
	about.ID, about.PID, about.Since = filepath.Base(dir), os.Getpid(), time.Now()
	s := &Server{about: about, log: log, ports: ports, zap: zap.Named("local"), path: filepath.Join(dir, socketName)}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, newName), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("serve the session's requests: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err := os.Rename(filepath.Join(dir, newName), s.path); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("serve the session's requests: %w", err)
	}
	ctx, s.end = context.WithCancel(context.WithoutCancel(ctx))
	s.http = http.Server{
		Handler: s.handler(), BaseContext: func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 8 << 10, ConnState: s.count,
	}
	s.all.Go(func() { _ = s.http.Serve(sameUser{l, s.zap}) })
	return s, nil
}

// Close ends all that is asked, replays included, and removes the socket.
func (s *Server) Close() error {
	s.end()
	err := s.http.Close()
	s.all.Wait()
	if e := os.Remove(s.path); !errors.Is(e, os.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return err
}

// sameUser is a listener that admits only this user.
type sameUser struct {
	*net.UnixListener
	log *zap.Logger
}

// Accept returns the next connection of this user.
func (l sameUser) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if err := checkUser(conn); err != nil {
			l.log.Warn("connection refused", zap.Error(err))
			_ = conn.Close()
			continue
		}
		return conn, nil
	}
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /session", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.about) })
	mux.HandleFunc("GET /requests", s.list)
	mux.HandleFunc("GET /har", s.archive)
	mux.HandleFunc("GET /follow", s.follow)
	mux.HandleFunc("GET /requests/{id}", s.show)
	mux.HandleFunc("POST /requests/{id}/replay", s.replay)
	mux.HandleFunc("POST /requests/{id}/release", s.release)
	mux.HandleFunc("GET /rules", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.log.Control().Rules()) })
	mux.HandleFunc("PUT /rules", s.rule)
	mux.HandleFunc("POST /rules", s.rule)
	mux.HandleFunc("POST /yield", s.yield)
	mux.HandleFunc("POST /keep", s.keep)
	return mux
}

// count keeps Close from returning while a connection is served. A new one is counted by the goroutine that accepts, which is counted itself.
func (s *Server) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.all.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.all.Done()
	case http.StateActive, http.StateIdle:
	}
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	since, limit := number(r, "since"), number(r, "limit")
	answer(w, s.log.List(since, int(min(limit, 1<<20))))
}

func (s *Server) archive(w http.ResponseWriter, r *http.Request) {
	answer(w, requests.NewHAR(s.log.Entries(secrets(r))))
}

// follow tells of changes, a line of JSON each, until the client is gone.
func (s *Server) follow(w http.ResponseWriter, r *http.Request) {
	subscription := s.log.Subscribe()
	defer subscription.Close()
	control, lines := http.NewResponseController(w), json.NewEncoder(w)
	if err := lines.Encode(Change{Requests: s.log.List(number(r, "since"), 0)}); err != nil {
		return
	}
	for {
		if err := control.Flush(); err != nil {
			return
		}
		pause(r.Context(), followEvery)
		changed, lost, err := subscription.Next(r.Context(), 0)
		if err != nil {
			return
		}
		if err := lines.Encode(Change{Requests: changed, Lost: lost}); err != nil {
			return
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (s *Server) show(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	e, ok := s.log.Entry(id, secrets(r))
	if err != nil || !ok {
		fail(w, http.StatusNotFound, requests.ErrGone)
		return
	}
	form := requests.Form(r.URL.Query().Get("as"))
	text, ok := e.Export(form)
	if !ok {
		fail(w, http.StatusBadRequest, fmt.Errorf("unknown form %q", form))
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, text)
}

// replay answers when the replay is over. It ends when the client goes away.
func (s *Server) replay(w http.ResponseWriter, r *http.Request) {
	id, _ := strconv.ParseUint(r.PathValue("id"), 10, 64) // 0 is nobody's
	edited, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEdited))
	if err != nil {
		fail(w, http.StatusRequestEntityTooLarge, err)
		return
	}
	replay, err := s.log.Replay(id, string(edited))
	switch {
	case errors.Is(err, requests.ErrGone):
		fail(w, http.StatusNotFound, err)
		return
	case err != nil:
		fail(w, http.StatusBadRequest, err)
		return
	}
	if err := replay.Run(r.Context()); err != nil {
		s.zap.Debug("replay", zap.Uint64("request", id), zap.Error(err))
	}
	e, ok := s.log.Entry(replay.ID, secrets(r))
	if !ok {
		fail(w, http.StatusNotFound, requests.ErrGone)
		return
	}
	answer(w, e)
}

func number(r *http.Request, name string) uint64 {
	n, err := strconv.ParseUint(r.URL.Query().Get(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func secrets(r *http.Request) requests.Secrets {
	return requests.Secrets(r.URL.Query().Get("secrets") == "plain")
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(body) // a client that is gone needs no answer
}

func fail(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Problem{Text: err.Error()})
}
