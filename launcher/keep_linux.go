package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"podstep.dev/internal/wire"
)

// The keeper's ends of the two pipes to the adapter, beside its standard descriptors.
const (
	lifelineFD = 3
	statusFD   = 4
)

// What the lifeline says; every other byte is the number of a signal for the child.
const (
	// goodbye ends the tree in an orderly way: the adapter lives and cleans up itself.
	goodbye = 0
	// foreground : the adapter may have got the terminal since the child was started.
	foreground = 255
)

// keeperSays is one frame of the status pipe; exactly one field is set.
type keeperSays struct {
	Started int            `json:"started,omitempty"` // the child's pid
	Failed  *failure       `json:"failed,omitempty"`  // there is no child
	Stopped syscall.Signal `json:"stopped,omitempty"` // by the terminal
	Exited  *ExitStatus    `json:"exited,omitempty"`
}

// failure carries an error to the adapter with the errno that errors.Is finds.
type failure struct {
	Errno syscall.Errno `json:"errno,omitempty"`
	Text  string        `json:"text"`
}

func failureOf(err error) *failure {
	f := &failure{Text: err.Error()}
	errors.As(err, &f.Errno)
	return f
}

func (f *failure) Error() string { return f.Text }

func (f *failure) Unwrap() error {
	if f.Errno == 0 {
		return nil
	}
	return f.Errno
}

// KeepOptions of Keep.
type KeepOptions struct {
	// SessionDir is removed when the adapter died without a goodbye. If empty, nothing is.
	SessionDir string
	// Mark of the tree, as Start printed it.
	Mark string
	// Foreground gives the terminal to the child when the adapter has it.
	Foreground bool
}

// keeper stands between adapter and tree. It runs in one goroutine (Keep); two more read the lifeline and end with the
// process, one is kept.reap.
type keeper struct {
	opts   KeepOptions
	mark   mark
	status *os.File
	kept   *kept
}

// Keep is `podstep-launch keep`: it runs argv and returns when no process of the tree is left. It ends the tree when
// the lifeline ends. Failures to start go to the adapter, not to the caller.
func Keep(ctx context.Context, argv []string, opts KeepOptions) error {
	runtime.LockOSThread() // see keep
	for _, fd := range []int{lifelineFD, statusFD} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			return fmt.Errorf("keep: descriptor %d is not the adapter's: %w", fd, err)
		}
	}
	// Ours, and whatever an editor leaked: the tree gets the three standard descriptors only.
	if err := unix.CloseRange(lifelineFD, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keep: close descriptors on exec: %w", err)
	}
	m, err := parseMark(opts.Mark)
	if err != nil {
		return err
	}
	k := &keeper{opts: opts, mark: m, status: os.NewFile(statusFD, "status")}
	_ = m.wear() // a hard limit of somebody else's forbids it: then only the descendants are found

	signals := forwarded()
	owner := 0
	if opts.Foreground {
		owner, _ = unix.Getpgid(unix.Getppid())
	}
	if k.kept, err = keep(argv, os.Environ(), owner); err != nil {
		k.say(keeperSays{Failed: failureOf(err)})
		return nil
	}
	k.say(keeperSays{Started: k.kept.pid})
	return k.run(ctx, readLifeline(os.NewFile(lifelineFD, "lifeline")), signals)
}

// readLifeline gives each byte of the lifeline. The channel ends with it.
func readLifeline(f *os.File) <-chan byte {
	bytes := make(chan byte)
	go func() {
		defer close(bytes)
		var b [1]byte
		for {
			if _, err := io.ReadFull(f, b[:]); err != nil {
				return
			}
			bytes <- b[0]
		}
	}()
	return bytes
}

func (k *keeper) run(ctx context.Context, lifeline <-chan byte, signals <-chan os.Signal) error {
	for {
		select {
		case sig := <-signals:
			k.kept.signal(sig.(syscall.Signal))
		case sig := <-k.kept.stopped:
			if !k.kept.resumed(sig) {
				k.kept.giveBack()
				k.say(keeperSays{Stopped: sig})
			}
		case status := <-k.kept.exited:
			k.kept.giveBack()
			k.say(keeperSays{Exited: &status})
		case <-k.kept.none:
			k.sayExited()
			return nil
		case b, ok := <-lifeline:
			switch {
			case !ok:
				return k.end(ctx, false)
			case b == goodbye:
				return k.end(ctx, true)
			case b == foreground:
				k.kept.takeTerminal()
			case syscall.Signal(b) == unix.SIGCONT:
				k.kept.resume()
			default:
				k.kept.signal(syscall.Signal(b))
			}
		}
	}
}

// end ends the tree; after the adapter's death also what else is left of the session.
func (k *keeper) end(ctx context.Context, orderly bool) error {
	err := k.kept.end(ctx)
	k.kept.giveBack()
	k.sayExited()
	if orderly {
		return err
	}
	return errors.Join(err, k.endSession(ctx), removeSessionDir(k.opts.SessionDir))
}

// endSession ends trees of the session that were started by others and lost their parent half together with the
// adapter. A living parent half is given time to end its tree by itself: it has a terminal to give back.
func (k *keeper) endSession(ctx context.Context) error {
	return sweep(ctx, time.Second, func(m mark) bool { return m.session == k.mark.session && m.tree != k.mark.tree })
}

func (k *keeper) sayExited() {
	select {
	case status := <-k.kept.exited:
		k.say(keeperSays{Exited: &status})
	default:
	}
}

// say tells the adapter. One that is gone hears nothing: the lifeline says so, too.
func (k *keeper) say(s keeperSays) { _ = wire.WriteFrame(k.status, s, nil) }
