//go:build linux

package door

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"podstep.dev/internal/wire"
)

// Where this user cannot have a door, whoever comes in serves the session itself, and is present by locks on the
// program's file, which every process of the container opens as /proc/self/exe and nobody outside does. The kernel gives
// a lock back when its process ends, however it ends. Byte 0: somebody is present; byte 1 and N: the last that left asks
// for N more seconds.
const (
	present  = 0
	farewell = 1
)

// lookEvery is how often it is looked who is present.
const lookEvery = 200 * time.Millisecond

// Presence is one process's, until Close.
type Presence struct{ file, list *os.File }

// Enter makes the process present.
func Enter() (*Presence, error) {
	file, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("be present: %w", err)
	}
	p := &Presence{file: file}
	if err := p.lock(present); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	fd, err := unix.MemfdCreate(listName, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("be present: %w", err), file.Close())
	}
	p.list = os.NewFile(uintptr(fd), listName)
	return p, nil
}

func (p *Presence) lock(at int64) error {
	err := unix.FcntlFlock(p.file.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Start: at, Len: 1})
	if err != nil {
		return fmt.Errorf("lock %s: %w", p.file.Name(), err)
	}
	return nil
}

// Farewell asks that the resident stay for linger after Close. It takes a while, so that the resident sees it.
func (p *Presence) Farewell(linger time.Duration) error {
	if err := p.lock(farewell + int64(linger.Round(time.Second)/time.Second)); err != nil {
		return err
	}
	<-time.After(2 * lookEvery)
	return nil
}

// Close ends the presence.
func (p *Presence) Close() error { return errors.Join(p.file.Close(), p.list.Close()) }

// listName is the name of the file in memory that has a process's sessions for whoever lists them.
const listName = "podstep-sessions"

// Show replaces the sessions that the process tells of itself.
func (p *Presence) Show(sessions []wire.Session) error {
	text, err := json.Marshal(sessions)
	if err != nil {
		return err
	}
	if err := p.list.Truncate(0); err != nil {
		return fmt.Errorf("show sessions: %w", err)
	}
	if _, err := p.list.WriteAt(text, 0); err != nil {
		return fmt.Errorf("show sessions: %w", err)
	}
	return nil
}

// Shown lists what all that are present show.
func Shown() ([]wire.Session, error) {
	mates, err := Mates()
	if err != nil {
		return nil, err
	}
	all := []wire.Session{}
	for _, m := range mates {
		all = append(all, m.shown()...)
	}
	return all, nil
}

// Look watches who is present until ctx ends: it calls join when somebody is and nobody was, and when nobody is any
// more leave, with what was asked for, or lose, when nothing was.
func Look(ctx context.Context, join func(), leave func(linger time.Duration), lose func()) error {
	file, err := os.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("look who is present: %w", err)
	}
	defer func() { _ = file.Close() }()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var was standing
	for {
		now, err := look(file)
		if err != nil {
			return fmt.Errorf("look who is present: %w", err)
		}
		switch {
		case now.present && !was.present:
			join()
		case was.present && !now.present && was.left:
			leave(was.linger)
		case was.present && !now.present:
			lose()
		}
		was = now
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// standing is what the locks say.
type standing struct {
	present, left bool
	linger        time.Duration
}

func look(file *os.File) (s standing, err error) {
	if _, s.present, err = held(file, present, 1); err != nil {
		return s, err
	}
	var at int64
	at, s.left, err = held(file, farewell, 0)
	s.linger = time.Duration(at-farewell) * time.Second
	return s, err
}

// held tells whether a lock is held in length bytes from start, 0 meaning all, and where it begins.
func held(file *os.File, start, length int64) (at int64, is bool, err error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: start, Len: length}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return 0, false, os.NewSyscallError("fcntl", err)
	}
	return lock.Start, lock.Type != unix.F_UNLCK, nil
}
