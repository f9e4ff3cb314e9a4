//go:build linux

package door

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"podstep.dev/internal/wire"
)

// Mate is another process of this program's file: of the same container.
type Mate struct {
	// Args are its arguments, the program's name first.
	Args []string

	dir string // of /proc
}

// Mates lists the other processes of this program's file that this user may look into.
func Mates() ([]Mate, error) {
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var mates []Mate
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join("/proc", e.Name())
		exe, err := os.Stat(dir + "/exe")
		if err != nil || !os.SameFile(own, exe) {
			continue
		}
		text, err := os.ReadFile(dir + "/cmdline")
		if err != nil || len(text) == 0 {
			continue
		}
		mates = append(mates, Mate{Args: strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00"), dir: dir})
	}
	return mates, nil
}

// shown are the sessions that a mate shows, none when it shows none.
func (m Mate) shown() []wire.Session {
	descriptors, err := os.ReadDir(m.dir + "/fd")
	if err != nil {
		return nil
	}
	for _, d := range descriptors {
		path := filepath.Join(m.dir, "fd", d.Name())
		if to, err := os.Readlink(path); err != nil || !strings.HasPrefix(to, "/memfd:"+listName) {
			continue
		}
		text, err := os.ReadFile(path)
		var sessions []wire.Session
		if err != nil || json.Unmarshal(text, &sessions) != nil {
			return nil
		}
		return slices.Clip(sessions)
	}
	return nil
}
