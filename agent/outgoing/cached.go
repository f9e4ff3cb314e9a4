package outgoing

import (
	"errors"
	"io"
	"io/fs"
	"sync"
	"time"
)

// maxFile bounds what is read of a configuration file, in bytes.
const maxFile = 1 << 20

// cached is a parsed file, read again when it changes. While it cannot be read it stays as it was; one that does not
// exist is empty.
type cached[T any] struct {
	files fs.FS
	name  string
	parse func(text string) T

	mu     sync.Mutex
	known  bool
	stamp  stamp
	parsed T
}

// stamp tells versions of a file apart: a file is replaced, or written in place.
type stamp struct {
	changed time.Time
	size    int64
}

func (c *cached[T]) read() T {
	c.mu.Lock()
	defer c.mu.Unlock()
	text, now, err := c.fresh()
	switch {
	case err == nil && text != nil:
		c.parsed, c.stamp, c.known = c.parse(string(text)), now, true
	case !c.known, errors.Is(err, fs.ErrNotExist) && c.stamp != (stamp{}):
		c.parsed, c.stamp, c.known = c.parse(""), stamp{}, true
	}
	return c.parsed
}

// fresh returns the file's text, nil when it is the known version.
func (c *cached[T]) fresh() ([]byte, stamp, error) {
	file, err := c.files.Open(c.name)
	if err != nil {
		return nil, stamp{}, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, stamp{}, err
	}
	now := stamp{changed: info.ModTime(), size: info.Size()}
	if c.known && now == c.stamp {
		return nil, now, nil
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFile))
	if text == nil {
		text = []byte{}
	}
	return text, now, err
}
