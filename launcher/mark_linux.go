package launcher

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// mark says of a process to which session and tree it belongs. It is kept as the soft RLIMIT_RTTIME, which no fork,
// exec, setsid, cleared environment or death of a parent takes away, which limits nothing at this size (it is in
// microseconds, and only for real-time scheduling), and which /proc/PID/limits shows to everyone, Yama or not.
type mark struct {
	session, tree uint32 // 30 bits each
}

const (
	markBit  = 1 << 62
	markPart = 1<<30 - 1
)

// newMark is the mark of another tree of the session in dir; "" is a session of its own.
func newMark(dir string) mark {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	m := mark{
		session: binary.LittleEndian.Uint32(b[:]) & markPart,
		tree:    binary.LittleEndian.Uint32(b[4:]) & markPart,
	}
	if dir != "" {
		h := fnv.New32a()
		_, _ = h.Write([]byte(filepath.Clean(dir)))
		m.session = h.Sum32() & markPart
	}
	return m
}

func (m mark) limit() uint64 { return markBit | uint64(m.session)<<30 | uint64(m.tree) }

func markFromLimit(n uint64) (m mark, ok bool) {
	if n>>60 != markBit>>60 {
		return mark{}, false
	}
	return mark{session: uint32(n>>30) & markPart, tree: uint32(n) & markPart}, true
}

// String is the mark as a flag's value.
func (m mark) String() string { return strconv.FormatUint(m.limit(), 16) }

func parseMark(s string) (mark, error) {
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return mark{}, fmt.Errorf("parse mark: %w", err)
	}
	m, ok := markFromLimit(n)
	if !ok {
		return mark{}, fmt.Errorf("parse mark %q: not a mark", s)
	}
	return m, nil
}

// wear marks this process and with it all that it starts.
func (m mark) wear() error {
	var old unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_RTTIME, nil, &old); err != nil {
		return fmt.Errorf("mark process: %w", err)
	}
	old.Cur = m.limit()
	if err := unix.Prlimit(0, unix.RLIMIT_RTTIME, &old, nil); err != nil {
		return fmt.Errorf("mark process: %w", err)
	}
	return nil
}

// markOf reads the mark of a process. It has none when it is gone, too.
func markOf(pid int) (mark, bool) {
	limits, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits")
	if err != nil {
		return mark{}, false
	}
	// proc_pid_limits (fs/proc/base.c): name padded to 25, soft, hard, unit.
	_, rest, ok := bytes.Cut(limits, []byte("Max realtime timeout"))
	if !ok {
		return mark{}, false
	}
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return mark{}, false
	}
	n, err := strconv.ParseUint(string(fields[0]), 10, 64)
	if err != nil {
		return mark{}, false
	}
	return markFromLimit(n)
}
