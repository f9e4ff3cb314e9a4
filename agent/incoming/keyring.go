//go:build linux

package incoming

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"podstep.dev/internal/wire"
)

const (
	// maxPEM is the largest file of certificates or of a key, in bytes.
	maxPEM = 1 << 20
	// lookEvery is how often at most it is looked whether the files have changed: whoever renews certificates does so hours before the old
	// ones expire.
	lookEvery = time.Second
	// avoidFor is how long a target that cannot be spoken to in TLS is not tried again: it logs each handshake that does not end.
	avoidFor = 10 * time.Second
)

// keyring has the certificates of one subscription. Files of the target are read again when they have changed; while they cannot be
// used, what was read before stays.
type keyring struct {
	log    *zap.Logger
	files  fs.FS
	params wire.TLS
	// tickets is what sessions that clients resume are sealed with (RFC 8446 §4.6.1). It is as old as the subscription.
	tickets [32]byte

	mu     sync.Mutex
	looked time.Time
	stamps []stamp
	keys   keys
	// avoid says why the target is not tried in TLS until then.
	avoid      wire.Unread
	avoidUntil time.Time
}

// keys are what a keyring has read.
type keys struct {
	pairs []tls.Certificate
	// client is shown to the target, and authorities sign those of its clients; nil for none.
	client      *tls.Certificate
	authorities *x509.CertPool
}

// stamp tells one content of a file from another.
type stamp struct {
	path     string
	inode    uint64
	size     int64
	modified time.Time
}

// newKeyring reads everything once. An error is a *wire.Refusal.
func newKeyring(p wire.SubscribeParams, files fs.FS, log *zap.Logger) (*keyring, error) {
	refuse := func(errno syscall.Errno, format string, args ...any) error {
		return &wire.Refusal{Errno: errno, Reason: wire.ReasonTLS, Text: fmt.Sprintf("steal port %d: TLS: ", p.Port) + fmt.Sprintf(format, args...)}
	}
	switch {
	case p.Mode != wire.ModeSteal || !p.Requests:
		return nil, refuse(syscall.EINVAL, "it is taken off for requests that are stolen alone")
	case len(p.TLS.Certificates) == 0:
		return nil, refuse(syscall.EINVAL, "no certificate is given")
	case p.TLS.HasPaths() && files == nil:
		return nil, refuse(syscall.EACCES, "this agent does not see the target's files")
	}
	r := &keyring{log: log, files: files, params: *p.TLS, looked: time.Now()}
	_, _ = rand.Read(r.tickets[:]) // never fails since Go 1.24
	var err error
	if r.keys, r.stamps, err = r.read(); err != nil {
		errno := syscall.EINVAL
		errors.As(err, &errno)
		return nil, refuse(errno, "%v", err)
	}
	return r, nil
}

// now returns what is in the files at this moment.
func (r *keyring) now() keys {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.looked) < lookEvery {
		return r.keys
	}
	r.looked = time.Now()
	if !r.changed() {
		return r.keys
	}
	fresh, stamps, err := r.read()
	if err != nil {
		r.log.Warn("certificates that have changed cannot be used; the ones before are", zap.Error(err))
		return r.keys
	}
	r.log.Info("certificates have changed")
	r.keys, r.stamps = fresh, stamps
	return r.keys
}

// changed says whether a file is another than the one that was read. The caller holds mu.
func (r *keyring) changed() bool {
	return slices.ContainsFunc(r.stamps, func(was stamp) bool {
		f, is, err := r.open(was.path)
		if err != nil {
			return true
		}
		_ = f.Close()
		return is != was
	})
}

// avoids says why the target is not to be tried, or nothing.
func (r *keyring) avoids() wire.Unread {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().After(r.avoidUntil) {
		return ""
	}
	return r.avoid
}

// shun has the target not tried for a while.
func (r *keyring) shun(why wire.Unread) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.avoid, r.avoidUntil = why, time.Now().Add(avoidFor)
}

func (r *keyring) read() (k keys, stamps []stamp, err error) {
	var all reading
	all.keyring = r
	for _, p := range r.params.Certificates {
		k.pairs = append(k.pairs, all.pair(p))
	}
	if c := r.params.Client; c != nil {
		pair := all.pair(c.KeyPair)
		k.client, k.authorities = &pair, x509.NewCertPool()
		if text := all.text(c.CA, c.CAPEM, "the authorities"); all.err == nil && !k.authorities.AppendCertsFromPEM(text) {
			all.err = fmt.Errorf("%s: no certificate in PEM is in it", named(c.CA, "the authorities"))
		}
	}
	return k, all.stamps, all.err
}

// reading keeps its first error.
type reading struct {
	*keyring
	stamps []stamp
	err    error
}

func (r *reading) pair(p wire.KeyPair) tls.Certificate {
	cert, key := r.text(p.Cert, p.CertPEM, "the certificate"), r.text(p.Key, p.KeyPEM, "the key")
	if r.err != nil {
		return tls.Certificate{}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		r.err = fmt.Errorf("%s and %s: %w", named(p.Cert, "the certificate"), named(p.Key, "its key"), err)
	}
	return pair
}

// text returns what a path leads to, or what was given.
func (r *reading) text(name string, given wire.Secret, what string) []byte {
	if r.err != nil {
		return nil
	}
	if name == "" {
		if given == "" {
			r.err = fmt.Errorf("%s is missing", what)
		}
		return []byte(given)
	}
	f, s, err := r.open(name)
	if err != nil {
		r.err = fmt.Errorf("read %s of the target: %w", name, cause(err))
		return nil
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	switch {
	case err != nil:
		r.err = fmt.Errorf("read %s of the target: %w", name, cause(err))
	case len(text) > maxPEM:
		r.err = fmt.Errorf("read %s of the target: longer than %d bytes", name, maxPEM)
	}
	r.stamps = append(r.stamps, s)
	return bytes.Clone(text)
}

// open opens a file by its absolute path.
func (r *keyring) open(name string) (fs.File, stamp, error) {
	if !path.IsAbs(name) {
		return nil, stamp{}, errors.New("not an absolute path")
	}
	f, err := r.files.Open(strings.TrimPrefix(path.Clean(name), "/"))
	if err != nil {
		return nil, stamp{}, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		_ = f.Close()
		return nil, stamp{}, err
	}
	s := stamp{path: name, size: info.Size(), modified: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = sys.Ino
	}
	return f, s, nil
}

// cause leaves off the path, which the message has already.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		if p.Op == "open root" {
			return fmt.Errorf("the agent may not look into the target's process: %w", p.Err)
		}
		return p.Err
	}
	return err
}

func named(name, what string) string {
	if name == "" {
		return what
	}
	return name
}
